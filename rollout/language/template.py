"""How a question is put to a model: one system prompt, and the text of an item's question by the kind of its problem."""

SYSTEM = (
    "You look and listen closely, and you answer in three parts. First you tell what is there in <context> </context>: the people, "
    "what they do and say, and where. Then you reason about the question, step by step, in <think> </think>. Last you give the answer "
    "alone in <answer> </answer>. Write nothing outside these three parts."
)
INSTRUCTIONS = {
    "multiple choice": "Answer with the letter of one option.",
    "emer_ov_mc": "Answer with the letters of all options that are right, with commas between them.",
    "numerical": "Answer with one number.",
    "regression": "Answer with one number, as near as you can tell.",
    "OCR": "Answer with the text as it is written, word by word.",
    "free-form": "Answer in words of your own.",
    "emer_ov": "Answer with the words for what is felt, with commas between them.",
    "judge": "Answer Yes or No.",
    "segmentation": "Answer with JSON: points on what must be left out.",
}


def question(problem: str, options: tuple[str, ...] = (), problem_type: str = "") -> str:
    """The whole text of a question: the problem, its options a line each, and how to answer a problem of its type. A type that
    is not listed is answered as "free-form" is."""
    listed = [f"{problem} Options:", *options] if options else [problem]
    return "\n".join([*listed, INSTRUCTIONS.get(problem_type, INSTRUCTIONS["free-form"])])
