"""`check` in a process of its own, as users run it (other tests fork one), prints line by line and writes nothing."""

from pathlib import Path

import pytest
from checking import snapshot
from hosts.standins import copy_of, standin

from vlltr_plugin.cli import main
from vlltr_plugin.demo import CLASS_VOLUME, make_standin
from vlltr_plugin.install import install

EXPECTED = {
    "vl-ltr": ["config", "plug-in", "train list", "val list", "test list", "images", "classes", "sentences",
               "stage one", "embeddings", "model", "training", "reweight", "weights", "memory", "output", "step"],
    "lift": ["plug-in", "config", "labels", "sampler", "reweight", "step"],
}  # fmt: skip


@pytest.mark.parametrize("host", EXPECTED)
def test_the_host_runs_in_a_separate_process(host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, arguments = tmp_path / "standin", ["--host-args", "reweight.type class_volume loss_type CE"]
    if host == "lift":
        copy_of(standin(host), root)
    else:
        pytest.importorskip("sklearn")
        root, arguments = make_standin(root), [CLASS_VOLUME, "--device", "cpu"]
    install(root)
    before = snapshot(root)
    capsys.readouterr()
    assert main(["check", "--checkout", str(root), *arguments]) == 0
    assert snapshot(root) == before
    lines = capsys.readouterr().out.splitlines()
    assert [line[6:16].strip() for line in lines] == EXPECTED[host]
    assert {line[:4].strip() for line in lines} <= {"ok", "skip"}
