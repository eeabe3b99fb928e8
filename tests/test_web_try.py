"""Trying networks in the API: what they say of drawings and images, and forty files and forms that mean no good."""

from __future__ import annotations

import base64
import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

import paribus
from paribus.data import load_data
from paribus.experiment import Experiment
from paribus.predict import TrainedModel
from paribus.store import Results
from paribus.web import tryit, workbench
from paribus.web.app import create_app
from paribus.web.replies import RefusedError
from paribus.web.uploads import MOST_BYTES, MOST_PIXELS, require_image, require_size
from test_web_drawing import Pixels, replayed
from trained_models import LENET, trained
from tried_results import MNIST, SCRIPT, write_tried
from web_server import serving

ASKED = {"experiment": "small", "arm": "control", "seed": "0", "kind": "image"}


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def shaded(side: int = 64, mode: str = "RGB") -> Image.Image:
    pixels = np.add.outer(np.arange(side), np.arange(side)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tried(tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def client(folder: Path) -> TestClient:
    return TestClient(create_app(folder), base_url="http://127.0.0.1", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def model(folder: Path) -> TrainedModel:
    return paribus.load(folder / "small" / "runs" / "control" / "0")


def send(client: TestClient, content: bytes, name: str = "a.png", **asked: Any) -> Any:
    return client.post("/api/try", data=ASKED | asked, files={"image": (name, content, "image/png")})


def decoded(picture: dict[str, Any]) -> Pixels:
    kind, _, text = picture["source"].partition(",")
    assert kind == "data:image/png;base64"
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    assert pixels.shape[:2] == (picture["height"], picture["width"])
    return pixels


# What networks say.


def test_an_image_is_classified_as_predict_classifies_it(client: TestClient, model: TrainedModel) -> None:
    image = load_data("digits", size=28).test.images[5, 0]
    (answer,) = send(client, saved(Image.fromarray(image))).json()["answers"]
    expected = model.predict(image)
    assert [each["name"] for each in answer["classes"]] == list(model.class_names)
    np.testing.assert_allclose([each["probability"] for each in answer["classes"]], expected.probabilities[0])
    assert answer["best"]["name"] == expected.names[0]
    assert (answer["arm"], answer["seed"], answer["notes"]) == ("control", 0, [])
    assert answer["is_calibrated"] == (model.temperature is not None)
    assert np.array_equal(decoded(answer["seen"]), model.prepare(image)[0])


def test_what_it_sees_is_shown(client: TestClient) -> None:
    image = load_data("digits", size=28).test.images[5, 0]
    (answer,) = send(client, saved(Image.fromarray(image))).json()["answers"]
    assert [each["text"] for each in answer["maps"]] == [
        "conv1: 6 maps of 28 x 28, each scaled by itself",
        "conv2: 16 maps of 10 x 10, each scaled by itself",
    ]
    assert [decoded(each).shape for each in answer["maps"]] == [(28, 6 * 29 - 1, 2), (2 * 11 - 1, 8 * 11 - 1, 2)]
    assert decoded(answer["attention"]).shape == (32, 32, 4)
    assert answer["attention_text"] == "What speaks for this class in the maps of conv2"


def test_two_networks_answer_side_by_side(client: TestClient) -> None:
    content = saved(shaded(28))
    first, second = send(client, content, arm=["control", "sorted"]).json()["answers"]
    assert (first.pop("arm"), second.pop("arm")) == ("control", "sorted") and first == second


def test_a_drawing_is_placed_as_the_training_images_are(client: TestClient, model: TrainedModel) -> None:
    digit = load_data("digits").test.images[8, 0]
    (answer,) = send(client, saved(Image.fromarray(replayed(digit, 200, 30, 60))), kind="drawing").json()["answers"]
    seen = decoded(answer["seen"])
    original = model.prepare(load_data("digits", size=28).test.images[8, 0])[0]
    assert np.abs(seen.astype(int) - original).mean() < 40 < np.abs(seen[::-1].astype(int) - original).mean()
    assert answer["notes"] == [
        "The ink is scaled to at most 8 x 7 of 8 x 8 pixels and placed by its middle, as it lies in MNIST, since the "
        "training images are not at hand."
    ] or answer["notes"][0].endswith("as it lies in the training images.")


def test_without_training_images_a_drawing_is_placed_as_in_mnist(
    folder: Path, fresh_cache: Path, model: TrainedModel
) -> None:
    client = TestClient(create_app(folder), base_url="http://127.0.0.1")
    drawing = saved(Image.fromarray(replayed(load_data("digits").test.images[8, 0], 200, 30, 60)))
    (answer,) = send(client, drawing, kind="drawing").json()["answers"]
    assert answer["notes"] == [
        "The ink is scaled to at most 6 x 6 of 8 x 8 pixels and placed by its centre of mass, as it lies in MNIST, "
        "since the training images are not at hand."
    ]


def test_a_negative_is_told_and_can_be_changed(client: TestClient) -> None:
    image = 255 - load_data("digits", size=28).test.images[5, 0]
    (told,) = send(client, saved(Image.fromarray(image))).json()["answers"]
    (changed,) = send(client, saved(Image.fromarray(image)), invert="true").json()["answers"]
    assert told["notes"][0].startswith("This image looks like a negative") and changed["notes"] == []
    assert np.array_equal(decoded(changed["seen"])[2:-2, 2:-2], 255 - image)


def test_few_networks_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbench, "MOST_MODELS", 1)
    loaded: list[str] = []
    load = workbench._load

    def noted(folder: Path, signature: tuple[int, int]) -> Any:
        loaded.append(folder.parent.name)
        return load(folder, signature)

    monkeypatch.setattr(workbench, "_load", noted)
    bench, results = workbench.Workbench(), Results.open(folder / "small")
    for arm in ("control", "control", "sorted", "control"):
        bench.answers(results, workbench.Asked((arm,), 0, "image", False, saved(shaded())))
    assert loaded == ["control", "sorted", "control"]


def test_a_network_that_has_been_trained_again_is_loaded_again(folder: Path) -> None:
    bench, results = workbench.Workbench(), Results.open(folder / "small")
    asked = workbench.Asked(("control",), 0, "image", False, saved(shaded()))
    first = bench.answers(results, asked).answers[0]
    path = results.run_folder("control", 0) / "model.safetensors"
    before = path.read_bytes()
    path.write_bytes(before[:100])
    with pytest.raises(RefusedError, match=r"^This run cannot be tried\. "):
        bench.answers(results, asked)
    path.write_bytes(before)
    assert bench.answers(results, asked).answers[0] == first


def test_a_run_without_metadata_is_refused_with_what_to_do(client: TestClient, folder: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = folder / "small" / "runs" / "sorted" / "0" / "model.safetensors"
    before = path.read_bytes()
    save_file(load_file(path), path)
    answer = send(client, saved(shaded()), arm="sorted")
    path.write_bytes(before)
    assert answer.status_code == 409 and "train" in answer.json()["error"]
    assert answer.json()["error"].startswith("This run cannot be tried. ")


def test_the_page_offers_what_is_finished(client: TestClient, folder: Path) -> None:
    page = client.get("/experiments/small/try", headers={"accept": "text/html"})
    assert page.status_code == 200 and 'data-seeds="0">sorted' in page.text
    assert "<script>" not in page.text.replace('<script type="module"', "")
    result = folder / "small" / "runs" / "sorted" / "0" / "result.json"
    content = result.read_bytes()
    result.unlink()
    assert 'data-seeds="0">sorted' not in client.get("/experiments/small/try").text
    result.write_bytes(content)


def test_the_api_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()["paths"]["/api/try"]["post"]
    form = described["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"experiment", "arm", "seed", "kind", "invert", "image"}
    assert described["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("Answers")


@pytest.mark.real_data
def test_replayed_mnist_digits_are_classified_as_the_originals(tmp_path: Path, data_folder: Path) -> None:
    dataset = load_data("mnist", data_folder, pad=2)
    run = trained(tmp_path / "small", MNIST, "native", dataset)
    client = TestClient(create_app(tmp_path), base_url="http://127.0.0.1")
    originals = dataset.test.images[:: len(dataset.test) // 100][:100]
    expected = paribus.load(run).predict(originals).names
    place = np.random.default_rng(1)
    found = []
    for image in originals:
        side = int(place.integers(140, 260))
        top, left = place.integers(0, 280 - side, 2).tolist()
        drawing = saved(Image.fromarray(replayed(image[0, 2:-2, 2:-2], side, top, left)))
        found.append(send(client, drawing, kind="drawing").json()["answers"][0]["best"]["name"])
    assert len(found) == 100
    assert np.mean(np.array(found) == expected) >= 0.95


def test_a_hundred_images_at_once_do_not_stall_the_page(folder: Path) -> None:
    content = saved(shaded(560))

    def ask(url: str) -> httpx.Response:
        return httpx.post(url, data=ASKED | {"kind": "drawing"}, files={"image": content}, timeout=60)

    with serving(folder) as server, ThreadPoolExecutor(100) as pool:
        assert ask(f"{server.url}/api/try").status_code == 200
        tries = [pool.submit(ask, f"{server.url}/api/try") for _ in range(100)]
        answered = 0
        while not all(each.done() for each in tries):
            assert httpx.get(f"{server.url}/experiments/small/try", timeout=10).status_code == 200
            answered += 1
        assert answered >= 3
        replies = [each.result() for each in tries]
    assert {each.status_code for each in replies} == {200}
    assert len({each.content for each in replies}) == 1


def test_what_waits_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tryit, "_MOST_WAITING", 0)
    answer = send(TestClient(create_app(folder), base_url="http://127.0.0.1"), saved(shaded()))
    assert (answer.status_code, answer.json()["error"]) == (
        429,
        "At most 0 images may wait, but so many do. Try again later.",
    )


def test_photos_are_given_whole_even_when_drawn(tmp_path: Path, fresh_cache: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", x_train=images, y_train=np.arange(30) % 3, x_test=images, y_test=np.arange(30) % 3)
    data = {"name": str(tmp_path / "noise.npz"), "val": 6}
    dataset = load_data(tmp_path / "noise.npz")
    trained(tmp_path / "results" / "small", LENET | {"data": data}, "native", dataset)
    drawing = saved(Image.fromarray(replayed(load_data("digits").test.images[8, 0], 200, 30, 60)))

    def note() -> str:
        client = TestClient(create_app(tmp_path / "results"), base_url="http://127.0.0.1")
        (answer,) = send(client, drawing, kind="drawing").json()["answers"]
        assert decoded(answer["seen"]).shape == (32, 32, 3)
        (told,) = answer["notes"]
        return str(told)

    whole = ", so that the drawing went in whole, like a picture."
    assert note() == f"The training images are no ink on plain ground{whole}"
    shutil.rmtree(fresh_cache / "prepared")
    assert note() == f"The training images are not at hand, and have colours{whole}"


def test_baselines_are_not_offered() -> None:
    text = (
        "[experiment]\nname = 'a'\ntitle = 'A'\nseeds = 1\nmargin = 0.1\n[control]\ndata = { name = 'digits' }\n"
        "model = { name = 'pretrained', weights = 'x', train = 'head', head = 'majority' }\n"
        "optim = { name = 'lbfgs' }\ntrain = { epochs = 1 }\n"
    )
    assert workbench.finished_seeds(Results(Path("nowhere"), Experiment.parse(text)), "control") == []


# What means no good.


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, depth: int = 8) -> bytes:
    """A PNG whose heading claims a size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IEND", b"")


def bomb(side: int) -> bytes:
    """A whole black PNG of side x side pixels in few bytes."""
    rows = zlib.compressobj(9)
    packed = b"".join(rows.compress(b"\0" * (1 + side // 8)) for _ in range(side)) + rows.flush()
    return png(side, side, chunk(b"IDAT", packed), depth=1)


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 32, *[0] * 6)


def jpeg(width: int, height: int) -> bytes:
    """A JPEG of which another size is claimed."""
    content = bytearray(saved(shaded(), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def animated(form: str) -> bytes:
    frames = [shaded(32), shaded(32).rotate(90)]
    return saved(frames[0], form, save_all=True, append_images=frames[1:])


TOO_MANY = (
    r"must have at most [\d,]+ pixels, but this one has ([\d,]+|more than can be decoded safely)\. Save it smaller"
)
NO_IMAGE = r"^A file must be an image, PNG, JPEG, WEBP, GIF, BMP or TIFF, but this is none of these\."
NOT_WHOLE = r"^An image must be whole, but "
HOSTILE: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "nothing": (lambda: b"", 422, r"^A file must be an image, but this one is empty\."),
    "text": (lambda: b"hello" * 100, 415, NO_IMAGE),
    "SVG with a script": (
        lambda: b"<svg><script>alert(1)</script></svg>",
        415,
        NO_IMAGE,
    ),
    "HTML": (lambda: b"<!doctype html><script>alert(1)</script>", 415, NO_IMAGE),
    "PDF": (lambda: b"%PDF-1.7\n" + bytes(100), 415, NO_IMAGE),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 415, NO_IMAGE),
    "zip": (lambda: b"PK\x03\x04" + bytes(100), 415, NO_IMAGE),
    "program": (lambda: b"\x7fELF" + bytes(100), 415, NO_IMAGE),
    "icon": (lambda: saved(shaded(), "ICO"), 415, NO_IMAGE),
    "PNG signature alone": (lambda: b"\x89PNG\r\n\x1a\n", 415, NO_IMAGE),
    "random bytes": (lambda: np.random.default_rng(0).bytes(5000), 415, NO_IMAGE),
    "PNG that claims a gigabyte": (lambda: png(40_000, 30_000), 413, TOO_MANY),
    "PNG that claims all it can": (lambda: png(2**31 - 1, 2**31 - 1), 413, TOO_MANY),
    "PNG that claims no pixel": (lambda: png(0, 0), 415, NO_IMAGE),
    "BMP that claims a gigabyte": (lambda: bmp(16_384, 16_384), 413, TOO_MANY),
    "GIF that claims four gigabytes": (
        lambda: b"GIF89a" + b"\xff" * 4 + saved(shaded(), "GIF")[10:],
        413,
        TOO_MANY,
    ),
    "JPEG that claims four gigabytes": (lambda: jpeg(65_500, 65_500), 413, TOO_MANY),
    "JPEG just above the limit": (lambda: jpeg(10_000, 5_001), 413, TOO_MANY),
    "bomb": (lambda: bomb(20_000), 413, TOO_MANY),
    "bomb of text": (
        lambda: png(9, 9, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 * 2**20)))),
        422,
        NOT_WHOLE,
    ),
    "truncated PNG": (lambda: saved(shaded(400))[:500], 422, NOT_WHOLE),
    "truncated JPEG": (lambda: saved(shaded(400), "JPEG")[:2000], 422, NOT_WHOLE),
    "PNG with a damaged middle": (lambda: png(64, 64, chunk(b"IDAT", b"no zlib")), 422, NOT_WHOLE),
    "animated GIF": (lambda: animated("GIF"), 422, r"^An image must be still, but this one is animated\."),
    "animated PNG": (lambda: animated("PNG"), 422, r"^An image must be still, but this one is animated\."),
    "animated WebP": (lambda: animated("WEBP"), 422, r"^An image must be still, but this one is animated\."),
    "floating-point TIFF": (
        lambda: saved(Image.fromarray(np.ones((9, 9), dtype=np.float32)), "TIFF"),
        422,
        r"floating-point numbers",
    ),
    "GIF that is a script too": (lambda: b"GIF89a/*" + bytes(8) + b"*/=1;alert(1)", 415, NO_IMAGE),
    "more than ten megabytes": (
        lambda: bytes(MOST_BYTES + 1),
        413,
        r"^An image must have at most 10 MiB, but this one has 10\.0\.",
    ),
    "more than a request may have": (lambda: bytes(12 * 2**20), 413, r"^A request must have at most 11 MiB\."),
}
HARMLESS: dict[str, Callable[[], bytes]] = {
    "a JPEG most of which is missing": lambda: jpeg(4000, 4000),
    "a JPEG with a second picture": lambda: animated("MPO"),
    "CMYK": lambda: saved(shaded(mode="CMYK"), "JPEG"),
    "16 bits": lambda: saved(Image.fromarray(np.full((30, 30), 40_000, dtype=np.uint16))),
    "palette with transparency": lambda: saved(shaded().quantize(8), transparency=0),
    "one pixel": lambda: saved(shaded(1)),
    "a line": lambda: saved(shaded().crop((0, 0, 64, 1))),
    "a picture that is a page too": lambda: saved(shaded()) + b"<script>alert(1)</script>",
    "a JPEG with a zip behind it": lambda: saved(shaded(), "JPEG") + b"PK\x05\x06" + bytes(18),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_get_a_status_and_a_sentence(client: TestClient, name: str) -> None:
    make, status, sentence = HOSTILE[name]
    answer = send(client, make())
    assert answer.status_code == status, answer.text[:300]
    told = answer.json()["error"]
    with pytest.raises(RefusedError, match=sentence):
        raise RefusedError(status, told)
    assert told.endswith(".") and len(told) < 300
    assert client.get("/").status_code == 200


@pytest.mark.parametrize("name", HARMLESS)
def test_odd_files_are_classified(client: TestClient, name: str) -> None:
    answer = send(client, HARMLESS[name](), name=f"../../etc/{SCRIPT}\0.html")
    assert answer.status_code == 200, answer.text[:300]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_class_name_is_text(client: TestClient) -> None:
    answer = send(client, saved(shaded()))
    assert answer.json()["answers"][0]["classes"][0]["name"] == SCRIPT


FORMS: dict[str, tuple[dict[str, Any], int, str]] = {
    "no such experiment": ({"experiment": "../small"}, 404, "There must be a result folder of this name"),
    "no such arm": ({"arm": "contrl"}, 404, "Did you mean `control`?"),
    "an arm that is a path": (
        {"arm": "../control"},
        404,
        "An arm must be one of control, ",
    ),
    "no such seed": ({"seed": "7"}, 404, "must be finished before it can be tried, but `control` has none of seed 7."),
    "a negative seed": ({"seed": "-1"}, 422, "`seed` must be a whole number from 0, but got `-1`."),
    "a seed of other digits": ({"seed": "٣"}, 422, "`seed` must be a whole number from 0"),
    "a very long seed": ({"seed": "9" * 5000}, 422, "`seed` must be a whole number from 0"),
    "three arms": ({"arm": ["control"] * 3}, 422, "`arm` must be there once or twice, but is there 3 times."),
    "no arm": ({"arm": []}, 422, "`arm` must be there once or twice, but is there 0 times."),
    "another kind": ({"kind": SCRIPT}, 422, f"`kind` must be one of drawing, image, but got `{SCRIPT}`."),
    "invert perhaps": ({"invert": "perhaps"}, 422, "`invert` must be true or false, but got `perhaps`."),
    "an unknown field": ({"path": "/etc/passwd"}, 422, "A field must be one of experiment, arm, seed, kind, "),
    "too many fields": ({f"f{n}": "x" for n in range(50)}, 400, "Too many fields"),
}


@pytest.mark.parametrize("name", FORMS)
def test_odd_forms_are_refused(client: TestClient, name: str) -> None:
    changes, status, sentence = FORMS[name]
    answer = send(client, saved(shaded()), **changes)
    assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), answer.text


def test_what_is_no_form_is_refused(client: TestClient) -> None:
    told = "An image must be sent as multipart/form-data, but got `application/json`. Send a form."
    answer = client.post("/api/try", content=json.dumps(ASKED), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (415, {"error": told})
    assert client.post("/api/try", data=ASKED).status_code == 415
    text = client.post("/api/try", data=ASKED | {"image": "text"}, files={"seed": b"0"})
    assert (text.status_code, text.json()["error"]) == (
        422,
        "The field `image` must be a file, but there is none. Add one.",
    )
    broken = client.post("/api/try", content=b"--x", headers={"content-type": "multipart/form-data"})
    assert broken.status_code == 400 and broken.json()["error"]
    many = client.post("/api/try", data=ASKED, files=[("image", b"a"), ("image", b"b")])
    assert many.status_code == 400 and "Too many files" in many.json()["error"]


def test_other_sites_may_not_send_images(client: TestClient) -> None:
    for header in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = client.post("/api/try", data=ASKED, files={"image": saved(shaded())}, headers=header)
        assert answer.status_code == 403


def test_an_empty_drawing_and_a_huge_one_are_refused(client: TestClient) -> None:
    empty = send(client, saved(Image.new("RGB", (280, 280), "white")), kind="drawing")
    assert (empty.status_code, empty.json()["error"]) == (
        422,
        "A drawing must have ink on it, but this one is empty. Draw something.",
    )
    huge = send(client, bomb(4096), kind="drawing")
    assert (huge.status_code, huge.json()["error"]) == (
        413,
        "An image must have at most 4,194,304 pixels, but this one has 16,777,216. Save it smaller.",
    )


def test_the_page_on_serving_tells_the_limits() -> None:
    text = " ".join((Path(__file__).parents[1] / "docs" / "serve.md").read_text(encoding="utf-8").split())
    assert f"at most {MOST_BYTES // 2**20} MiB and {MOST_PIXELS:,} pixels" in text
    assert "PNG, JPEG, WEBP, GIF, BMP OR TIFF" in text.upper() and "PNG, JPEG, WEBP, GIF, BMP or TIFF" in NO_IMAGE


def test_headings_are_enough_to_refuse() -> None:
    require_size(MOST_BYTES)
    require_image(saved(shaded()), most_pixels=64 * 64)
    with pytest.raises(RefusedError, match="at most 4,095 pixels, but this one has 4,096"):
        require_image(saved(shaded()), most_pixels=64 * 64 - 1)


def test_a_diverged_network_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, client: TestClient) -> None:
    network = workbench.Workbench()
    loaded = network._loaded(folder / "small" / "runs" / "control" / "0")
    monkeypatch.setattr(type(loaded.model), "_logits", lambda self, images: np.full((1, 10), np.nan, dtype=np.float32))
    answer = send(client, saved(shaded()))
    assert answer.status_code == 409 and "the network has diverged" in answer.json()["error"]
