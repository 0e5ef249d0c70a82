"""Real names, as NVML prints them, and what the marketplace calls the card."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider.core.gpu_models import GpuKind, gpu_kind

NAMES = [
    ("NVIDIA H100 80GB HBM3", "h100", "sxm"),
    ("NVIDIA H100 PCIe", "h100", "pcie"),
    ("NVIDIA H100 NVL", "h100", "pcie"),
    ("NVIDIA H800 PCIe", "h800", "pcie"),
    ("NVIDIA H200", "h200", "sxm"),
    ("NVIDIA H200 NVL", "h200", "pcie"),
    ("NVIDIA H800", "h800", "sxm"),
    ("NVIDIA H20", "h20", "sxm"),
    ("NVIDIA GH200 480GB", "gh200", None),
    ("NVIDIA GH200 144G HBM3e", "gh200", None),
    ("NVIDIA B200", "b200", "sxm"),
    ("NVIDIA B300 SXM6 AC", "b300", "sxm"),
    ("NVIDIA GB200", "gb200", None),
    ("NVIDIA GB300", "gb300", None),
    ("NVIDIA GB10", "gb10", None),
    ("NVIDIA A100-SXM4-80GB", "a100", "sxm"),
    ("NVIDIA A100-SXM4-40GB", "a100", "sxm"),
    ("NVIDIA A100-PCIE-80GB", "a100", "pcie"),
    ("NVIDIA A100-SXM-64GB", "a100", "sxm"),
    ("NVIDIA A100-PCIE-40GB", "a100", "pcie"),
    ("NVIDIA A100 80GB PCIe", "a100", "pcie"),
    ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "a100", "sxm"),
    ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "h100", "sxm"),
    ("NVIDIA H100 80GB HBM3 MIG 1g.10gb+me", "h100", "sxm"),
    ("NVIDIA A100 80GB PCIe MIG 1c.3g.40gb", "a100", "pcie"),
    ("NVIDIA A30 MIG 2g.12gb", "a30", "pcie"),
    ("NVIDIA H200 MIG 7g.141gb", "h200", "sxm"),
    ("NVIDIA B200 MIG 1g.23gb", "b200", "sxm"),
    ("A100-SXM4-40GB", "a100", "sxm"),
    ("NVIDIA A800-SXM4-80GB", "a800", "sxm"),
    ("NVIDIA A30", "a30", "pcie"),
    ("NVIDIA A40", "a40", "pcie"),
    ("NVIDIA A10", "a10", "pcie"),
    ("NVIDIA A10G", "a10g", "pcie"),
    ("NVIDIA A16", "a16", "pcie"),
    ("NVIDIA A2", "a2", "pcie"),
    ("NVIDIA L4", "l4", "pcie"),
    ("NVIDIA L40", "l40", "pcie"),
    ("NVIDIA L40S", "l40s", "pcie"),
    ("Tesla T4", "t4", "pcie"),
    ("NVIDIA L20", "l20", "pcie"),
    ("Tesla V100-SXM2-16GB", "v100", "sxm"),
    ("Tesla V100-SXM3-32GB", "v100", "sxm"),
    ("Tesla V100-PCIE-32GB", "v100", "pcie"),
    ("Tesla V100-FHHL-16GB", "v100", "pcie"),
    ("Tesla V100-DGXS-32GB", "v100", None),
    ("Tesla V100S-PCIE-32GB", "v100s", "pcie"),
    ("Tesla P100-PCIE-16GB", "p100", "pcie"),
    ("Tesla P100-SXM2-16GB", "p100", "sxm"),
    ("Tesla P4", "p4", "pcie"),
    ("Tesla P40", "p40", "pcie"),
    ("Tesla K80", "k80", "pcie"),
    ("NVIDIA GeForce RTX 5090", "rtx5090", "pcie"),
    ("NVIDIA GeForce RTX 5090 D", "rtx5090d", "pcie"),
    ("NVIDIA GeForce RTX 5070 Ti", "rtx5070ti", "pcie"),
    ("NVIDIA GeForce RTX 5090 Laptop GPU", "rtx5090laptop", None),
    ("NVIDIA GeForce RTX 4090", "rtx4090", "pcie"),
    ("NVIDIA GeForce RTX 4090 D", "rtx4090d", "pcie"),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx4090laptop", None),
    ("NVIDIA GeForce RTX 4080 SUPER", "rtx4080super", "pcie"),
    ("NVIDIA GeForce RTX 4070 Ti SUPER", "rtx4070tisuper", "pcie"),
    ("NVIDIA GeForce RTX 3090", "rtx3090", "pcie"),
    ("NVIDIA GeForce RTX 3090 Ti", "rtx3090ti", "pcie"),
    ("NVIDIA GeForce RTX 3060 Ti", "rtx3060ti", "pcie"),
    ("NVIDIA GeForce RTX 2080 SUPER", "rtx2080super", "pcie"),
    ("GeForce RTX 2080 Ti", "rtx2080ti", "pcie"),
    ("NVIDIA GeForce GTX 1060 6GB", "gtx1060", "pcie"),
    ("GeForce GTX 1080 Ti", "gtx1080ti", "pcie"),
    ("GeForce GTX 1650 SUPER", "gtx1650super", "pcie"),
    ("GeForce GTX 1070 with Max-Q Design", "gtx1070maxq", None),
    ("NVIDIA GeForce GT 1030", "gt1030", "pcie"),
    ("GeForce MX150", "mx150", None),
    ("NVIDIA TITAN RTX", "titanrtx", "pcie"),
    ("NVIDIA TITAN V", "titanv", "pcie"),
    ("NVIDIA TITAN X (Pascal)", "titanx", "pcie"),
    ("NVIDIA RTX A6000", "rtxa6000", "pcie"),
    ("NVIDIA RTX A2000 12GB", "rtxa2000", "pcie"),
    ("NVIDIA RTX 6000 Ada Generation", "rtx6000ada", "pcie"),
    ("NVIDIA RTX 5000 Ada Generation", "rtx5000ada", "pcie"),
    ("NVIDIA RTX 4000 Ada Generation", "rtx4000ada", "pcie"),
    ("NVIDIA RTX 4000 SFF Ada Generation", "rtx4000sffada", "pcie"),
    ("NVIDIA RTX 2000E Ada Generation", "rtx2000eada", "pcie"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "pro6000se", "pcie"),
    ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "pro6000we", "pcie"),
    ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "pro6000maxqwe", "pcie"),
    ("NVIDIA RTX PRO 6000 Blackwell Server Edition MIG 1g.24gb", "pro6000se", "pcie"),
    ("NVIDIA RTX PRO 5000 Blackwell", "pro5000", "pcie"),
    ("NVIDIA RTX PRO 4500 Blackwell", "pro4500", "pcie"),
    ("Quadro RTX 8000", "rtx8000", "pcie"),
    ("Quadro RTX 4000", "rtx4000", "pcie"),
    ("Quadro P4000", "p4000", "pcie"),
    ("NVIDIA T400 4GB", "t400", "pcie"),
    ("NVIDIA T1000", "t1000", "pcie"),
    ("NVIDIA CMP 170HX", "cmp170hx", "pcie"),
    ("Orin (nvgpu)", "orin", None),
    ("NVIDIA Thor", "thor", None),
    ("SIMULATED NVIDIA H100 80GB HBM3", "h100", "sxm"),
    ("NVIDIA Q9000 Quantum", "q9000quantum", None),
    ("NVIDIA", "unknown", None),
]


@pytest.mark.parametrize(("name", "model", "interface"), NAMES, ids=[name for name, _, _ in NAMES])
def test_real_names(name: str, model: str, interface: str | None) -> None:
    assert gpu_kind(name) == GpuKind(model=model, interface=interface)


@given(st.text(max_size=96))
def test_any_name_has_a_model_that_can_stand_in_an_attribute_key(name: str) -> None:
    kind = gpu_kind(name)
    assert re.fullmatch(r"[a-z0-9]+", kind.model)
    assert kind.interface in ("sxm", "pcie", None)
    assert gpu_kind(name) == kind


@given(st.sampled_from([name for name, _, _ in NAMES]))
def test_case_and_the_makers_name_do_not_matter(name: str) -> None:
    assert gpu_kind(name.upper()) == gpu_kind(name)
    assert gpu_kind(f"NVIDIA {name}") == gpu_kind(name)
