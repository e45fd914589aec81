"""JSON and YAML that others wrote: every defect is one line, and no file takes more memory or time than its size explains."""

import codecs
import json
from pathlib import Path
from typing import Any

import yaml

from rollout.io.errors import InputError
from rollout.io.files import refuse_stand_in

LONGEST_YAML = 200_000  # characters: PyYAML takes a second for these, and a config has 3,000


def is_text(value: str) -> bool:
    """Whether a file, a path and a tracking store can hold `value`: no NUL, no half of a character."""
    return "\0" not in value and not any("\ud800" <= c <= "\udfff" for c in value)


def read_text(path: Path) -> str:
    """A file in UTF-8, with or without a byte order mark, its lines ending in \\n. InputError when it is missing, not readable, or of
    another encoding, which names the line."""
    refuse_stand_in(path)
    try:
        content = path.read_bytes()
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise InputError(f"{path}: file not found") from None
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise InputError(f"{path}: is UTF-16 text, expected UTF-8: save it in that encoding") from None
        before = error.object[: error.start]
        line = 1 + before.count(b"\n") + before.replace(b"\r\n", b"").count(b"\r")
        raise InputError(f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8 text: save the file as UTF-8") from None


def read_json(path: Path) -> Any:
    """What a JSON file in UTF-8 holds. InputError when it is missing, not readable or not JSON."""
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError not of JSON alone: of numbers of 5,000 digits too
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
        raise InputError(f"{path}: not a JSON file ({reason})") from None


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses what YAML would make of settings without a word: of a key given twice the last, of an alias
    a copy (and of aliases of aliases gigabytes), of escapes text that no file can hold."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(problem=f"alias *{event.anchor}, expected the value itself", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict, set)):
                raise yaml.constructor.ConstructorError(problem="a list or mapping as a key", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(problem=f"key {key!r} is given twice", problem_mark=node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node):
        value = super().construct_scalar(node)
        if not is_text(value):
            raise yaml.constructor.ConstructorError(problem="text with a NUL or half a character", problem_mark=node.start_mark)
        return value

    def construct_yaml_int(self, node):
        value = super().construct_yaml_int(node)
        if abs(value) >= 2**63:  # which Python may not even print
            raise yaml.constructor.ConstructorError(problem="a whole number of more than 63 bits", problem_mark=node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def parse_yaml(text: str) -> Any:
    """What YAML makes of `text`: plain dicts, lists, strings, numbers, dates. InputError, without the name of a file, for
    all that is no YAML, needs code, is given twice, or is larger than settings are."""
    if len(text) > LONGEST_YAML:
        raise InputError(f"{len(text)} characters, expected at most {LONGEST_YAML}")
    try:
        return _Loader(text).get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{line}not valid YAML ({getattr(error, 'problem', None) or 'unreadable'})") from None
    except RecursionError:
        raise InputError("not valid YAML (nested too deeply)") from None
    except Exception as error:  # a scalar that is not what its tag says surfaces as almost any exception type
        raise InputError(f"not valid YAML ({type(error).__name__}: {str(error)[:120]})") from None
