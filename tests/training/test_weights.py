import hashlib
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from cropaudit.errors import InputError
from cropaudit.training.models import ModelSpec, WeightsFile, build, build_model
from cropaudit.training.networks.pretrained import WeightsReport
from cropaudit.training.networks.weights import read_weights

pytestmark = pytest.mark.usefixtures("one_thread")


def saved(tensors, path: Path) -> WeightsFile:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return WeightsFile(path)


def loaded(name, file, classes=3, norm="group", seed=0) -> tuple[dict, WeightsReport]:
    built = build(ModelSpec(name, norm, file), classes, seed)
    assert built.weights is not None
    return built.model.state_dict(), built.weights


def tensors_of(make, **options):
    torch.manual_seed(5)
    return make(**options).state_dict()


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_an_encoder_of_torchvision_fits_smp(tmp_path, suffix):
    from torchvision.models import resnet18

    tensors = tensors_of(resnet18, weights=None)
    state, report = loaded("pspnet", saved(tensors, tmp_path / f"resnet{suffix}"))
    for name in ("conv1.weight", "layer1.0.bn1.bias", "layer4.1.conv2.weight"):
        assert torch.equal(state[f"network.encoder.{name}"], tensors[name])
        assert f"network.encoder.{name}" in report.loaded
    assert {"fc.weight", "fc.bias", "bn1.running_mean"} <= set(report.unexpected)
    assert not any("encoder" in name for name in report.missing)
    assert report.mismatched == ()
    assert {*report.loaded, *report.missing} == set(state)


@pytest.mark.parametrize("name", ["deeplabv3:mobilenet_v3_large", "lraspp"])
def test_an_encoder_of_torchvision_fits_its_own_models(tmp_path, name):
    from torchvision.models import mobilenet_v3_large

    tensors = tensors_of(mobilenet_v3_large, weights=None)
    state, report = loaded(name, saved(tensors, tmp_path / "mobile.pt"))
    assert torch.equal(state["network.backbone.0.0.weight"], tensors["features.0.0.weight"])
    assert not any("backbone" in missing for missing in report.missing)


def test_an_encoder_of_timm_fits_smp(tmp_path):
    import timm

    name = "tf_mobilenetv3_small_minimal_100"
    tensors = tensors_of(timm.create_model, model_name=name)
    file = saved({"state_dict": tensors}, tmp_path / "timm.pth")
    state, report = loaded(f"unet:tu-{name}", file)
    assert torch.equal(state["network.encoder.model.conv_stem.weight"], tensors["conv_stem.weight"])
    assert not any("encoder" in missing for missing in report.missing)
    again, second = loaded(f"unet:tu-{name}", saved(state, tmp_path / "own.pt"), seed=1)
    assert second.missing == second.unexpected == ()
    assert all(torch.equal(again[name], state[name]) for name in state)


@pytest.mark.parametrize("prefix", ["network.", "module.", "", "module.network."])
def test_a_whole_model_fits_but_for_a_head_of_other_classes(tmp_path, prefix):
    tensors = build_model("pspnet:mobilenet_v2", 5, 7).state_dict()
    renamed = {prefix + name.removeprefix("network."): t for name, t in tensors.items()}
    state, report = loaded("pspnet:mobilenet_v2", saved(renamed, tmp_path / "whole.pt"))
    head = {name for name in tensors if "segmentation_head" in name}
    assert len(head) == 2
    assert {name.split("segmentation")[1] for name in report.mismatched} == {
        name.split("segmentation")[1] for name in head
    }
    assert set(report.missing) == head
    assert all(torch.equal(state[name], tensors[name]) for name in tensors.keys() - head)


@pytest.mark.parametrize("norm", ["group", "frozen-batch"])
def test_a_models_own_file_gives_the_same_model(tmp_path, norm):
    from torchvision.models import mobilenet_v2

    name = "pspnet:mobilenet_v2"
    encoder = saved(tensors_of(mobilenet_v2, weights=None), tmp_path / "encoder.pt")
    first, _ = loaded(name, encoder, norm=norm)
    second, report = loaded(name, saved(first, tmp_path / "own.safetensors"), norm=norm, seed=9)
    assert report.missing == report.unexpected == report.mismatched == ()
    assert all(torch.equal(second[key], first[key]) for key in first)


def test_what_the_file_lacks_starts_at_random_from_the_seed(tmp_path):
    tensors = build_model("small-unet", 3, 1).state_dict()
    missing = [name for name in tensors if "mix2" in name]
    file = saved({k: v for k, v in tensors.items() if k not in missing}, tmp_path / "part.pt")
    state, report = loaded("small-unet", file, seed=4)
    random = build_model("small-unet", 3, 4).state_dict()
    assert report.missing == tuple(sorted(missing))
    assert all(torch.equal(state[name], random[name]) for name in missing)


def test_the_digest_is_of_the_bytes_that_are_parsed(tmp_path, monkeypatch):
    file = saved(build_model("small-unet", 3, 1).state_dict(), tmp_path / "w.pt")
    digest = hashlib.sha256(file.path.read_bytes()).hexdigest()
    read = Path.read_bytes

    def read_and_remove(path):
        raw = read(path)
        path.unlink()
        return raw

    monkeypatch.setattr(Path, "read_bytes", read_and_remove)
    tensors, found = read_weights(WeightsFile(file.path, digest.upper()))
    assert found == digest
    assert "network.head2.weight" in tensors


def test_another_digest_is_refused(tmp_path):
    file = saved(build_model("small-unet", 3, 1).state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=f"weights must be a file of sha256 {'0' * 64}, got "):
        build_model("small-unet", 3, 0, weights=WeightsFile(file.path, "0" * 64))
    for wrong in ("", "0" * 63, "g" * 64):
        with pytest.raises(InputError, match="sha256 must be 64 hexadecimal digits"):
            WeightsFile(file.path, wrong)


class Malicious:
    """A pickle that writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("save", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, save):
    trace, path = tmp_path / "trace", tmp_path / "evil.pt"
    save({"weight": torch.zeros(2), "evil": Malicious(trace)}, path)
    with pytest.raises(InputError, match=r"with no code in it, got .*evil\.pt") as caught:
        build_model("small-unet", 3, 0, weights=WeightsFile(path))
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    torch.load(path, weights_only=False) if save is torch.save else pickle.loads(path.read_bytes())
    assert trace.read_text() == "run"


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("cut", [0, 1, 100, 5000])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, suffix, cut):
    file = saved(build_model("small-unet", 3, 1).state_dict(), tmp_path / f"w{suffix}")
    file.path.write_bytes(file.path.read_bytes()[:cut])
    with pytest.raises(InputError, match="weights must be a state dict of tensors") as caught:
        build_model("small-unet", 3, 0, weights=file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [torch.zeros(3), [1], {}, {"epoch": 3}, {1: torch.zeros(2)}])
def test_anything_but_a_state_dict_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="weights must be a state dict of tensors"):
        build_model("small-unet", 3, 0, weights=saved(content, tmp_path / "w.pt"))


def test_a_path_that_is_no_file_of_weights_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"file that can be read, got .*absent\.pt"):
        build_model("small-unet", 3, 0, weights=WeightsFile(tmp_path / "absent.pt"))
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(InputError, match="file that can be read"):
        build_model("small-unet", 3, 0, weights=WeightsFile(tmp_path / "folder.pt"))
    with pytest.raises(InputError, match=r"a file in .safetensors, .pt, .pth, got w.bin"):
        WeightsFile(Path("w.bin"))


def test_weights_of_another_model_are_refused(tmp_path):
    file = saved(nn.Linear(4, 4).state_dict(), tmp_path / "linear.pt")
    with pytest.raises(InputError, match="half of the model or its encoder, got 0 of 40,"):
        build_model("small-unet", 3, 0, weights=file)
    other = saved(build_model("lraspp", 3, 0).state_dict(), tmp_path / "other.pt")
    with pytest.raises(InputError, match="weights must be a file whose tensors fit"):
        build_model("pspnet:mobilenet_v2", 3, 0, weights=other)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    tensors = build_model("small-unet", 3, 1).state_dict()
    tensors["network.head1.weight"].view(-1)[0] = float("nan")
    with pytest.raises(InputError, match=r"weights must be finite, got network\.head1\.weight"):
        build_model("small-unet", 3, 0, weights=saved(tensors, tmp_path / "w.pt"))
