"""State dicts as hostile or careless hands leave them."""

import torch
from hypothesis import strategies as st


def odd_tensors():
    """Tensors that a weights file may hold and a network cannot: by name, so that a failure is readable."""
    return {
        "nan": torch.full((3, 3), torch.nan),
        "expanded": torch.zeros(1).expand(100_000, 100_000),
        "sparse": torch.eye(3).to_sparse(),
        "meta": torch.empty(3, 3, device="meta"),
        "complex": torch.zeros(3, 3, dtype=torch.cfloat),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(1.0),
        "thin": torch.zeros(1, 1_000_000),
        "tall": torch.zeros(1_000_000, 1),
        "float8": torch.zeros(3, 3).to(torch.float8_e4m3fn),
        "text": "tensor",
        "none": None,
        "huge": torch.full((3, 3), 1e300, dtype=torch.float64),
        "list": [torch.zeros(1)],
        "quantised": torch.quantize_per_tensor(torch.eye(3), 0.1, 0, torch.qint8),
    }


def mistreated(state: dict, data) -> dict:
    """`state` with tensors exchanged, renamed, dropped or replaced by odd ones."""
    names = sorted(state)
    one, other = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    odd = odd_tensors()
    match data.draw(st.sampled_from(["swap", "rename", "drop", "number", "odd", "odd", "shape", "another layer"])):
        case "swap":
            return {**state, one: state[other], other: state[one]}
        case "rename":
            return {(f"{name}é\n" if name == one else name): value for name, value in state.items()}
        case "drop":
            return {name: value for name, value in state.items() if name != one}
        case "number":
            return {**state, 5: state[one]}
        case "shape":
            return {**state, one: state[one].unsqueeze(0)}
        case "another layer":
            return {**state, "seqTransEncoder.layers.99999999.linear1.weight": state[one]}
        case _:
            return {**state, one: odd[data.draw(st.sampled_from(sorted(odd)))]}
