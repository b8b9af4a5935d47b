"""Package metadata. `pip install .` samples, trains and evaluates; extras add what only some need."""

from pathlib import Path

from setuptools import find_packages, setup

VERSION = next(
    line.split('"')[1]
    for line in Path("sora_jax/__init__.py").read_text().splitlines()
    if line.startswith("__version__")
)

setup(
    name="sora_jax",
    version=VERSION,
    description="An open, reproducible text-to-video diffusion transformer in JAX",
    long_description=Path("README.md").read_text(),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["sora_jax", "sora_jax.*"]),
    package_data={"sora_jax": ["pretrained/**/*", "evaluation/physics/certified/*"]},
    python_requires=">=3.11,<3.14",
    install_requires=[
        "jax>=0.10,<0.12",
        "flax>=0.12",
        "optax>=0.2.6",
        "orbax-checkpoint>=0.11",
        "numpy>=1.26",
        "ml-collections>=1.0",
        "grain>=0.2.15",
        "array-record>=0.8",
        "tensorflow-datasets>=4.9.10",
        "importlib-resources>=6",  # tensorflow-datasets 4.9.10 imports it without requiring it
        "einops>=0.8",
        "jaxtyping>=0.3",
        "safetensors>=0.5",
        "av>=14",
        "opencv-python-headless>=4.10",
        "scipy>=1.13",
        "pillow>=10",
        "pymunk>=7",
        "matplotlib>=3.9",
        "tensorboardX>=2.6",
        "tqdm>=4.66",
    ],
    extras_require={
        "tpu": ["jax[tpu]"],
        "cuda": ["jax[cuda12]"],
        "worlds3d": ["mujoco>=3.3", "PyOpenGL>=3.1"],
        "test": [
            "beartype>=0.20",
            "mujoco>=3.3",
            "pytest>=8,<10",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.7",
            "pyright==1.1.414",
            "ruff==0.17.6",
        ],
    },
)
