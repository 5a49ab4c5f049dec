from __future__ import annotations

import subprocess
import sys


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_torchvision_and_what_builds_on_it_import() -> None:
    code = (
        "from evalkit._torchvision import ensure; ensure(); ensure()\n"
        "import torchvision, open_clip, torchmetrics.image\n"
        "import torch; print(torchvision.transforms.functional.resize(torch.zeros(3, 8, 8), [4, 4]).shape)"
    )
    assert python(code) == "torch.Size([3, 4, 4])"


def test_a_matching_build_is_left_alone() -> None:
    # As if torchvision's own extension had registered its operators.
    code = (
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "schema = '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'\n"
        "library.define('nms' + schema); library.define('qnms' + schema)\n"
        "import evalkit._torchvision as cure\n"
        "print(cure.ensure(), cure._library)"
    )
    assert python(code) == "False None"


def test_importing_evalkit_imports_nothing_heavy() -> None:
    code = "import sys, evalkit, evalkit.cli; print(sorted({'torch', 'torchvision', 'numpy'} & set(sys.modules)))"
    assert python(code) == "[]"
