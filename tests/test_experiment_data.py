"""The experiments' data: what is read is right, and what is wrong with a file is said."""

import hashlib
import io
import json
import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tiny import check_message

from experiments.data import download as command
from experiments.data.ag_news import CLASSES, clean, load_ag_news
from experiments.data.download import Source, download
from experiments.data.fetch import fetch, unpack
from experiments.data.hymenoptera import MEAN, STD, augment, load_hymenoptera, normalise
from experiments.data.places import data_folder
from experiments.data.tokens import decode, encode, encode_target, load_wordpiece, train_wordpiece
from experiments.data.weights import find_weights, read_safetensors

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "ants", "win", "##ner", "."]
GOOD_ROW = '"3","Fears for pension","Unions say ""no""."\n'


# files


def write_ag_news(folder, train=GOOD_ROW, test=GOOD_ROW, classes=None):
    (folder / "ag_news_csv").mkdir(parents=True)
    for name, text in {"train.csv": train, "test.csv": test, "classes.txt": classes}.items():
        if text is not None:
            (folder / "ag_news_csv" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def jpeg(width=40, height=30, mode="RGB"):
    pixels = np.linspace(0, 255, height * width).astype(np.uint8).reshape(height, width)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_photos(folder, per_class=2, **extra):
    """Photographs in the layout of the archive; `extra` adds or replaces files of train/ants."""
    for part in ("train", "val"):
        for name in ("ants", "bees"):
            place = folder / "hymenoptera_data" / part / name
            place.mkdir(parents=True)
            for index in range(per_class):
                (place / f"{index}.jpg").write_bytes(jpeg(40 + index, 30, ("RGB", "L", "CMYK")[index % 3]))
    for name, data in extra.items():
        (folder / "hymenoptera_data" / "train" / "ants" / name.replace("_", ".")).write_bytes(data)
    return folder


def write(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def zipped(entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return file.getvalue()


def link_archive():
    entry = zipfile.ZipInfo("ants_data/link")
    entry.external_attr = 0o120777 << 16
    return zipped({entry: "/etc/passwd"})


def header(**arrays):
    text = json.dumps(arrays).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


WEIGHTS = header(a={"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}) + b"\x00\x00\x80\x3f"


# a server

ZIP = zipped({"ants_data/train/ants/1.jpg": jpeg(), "ants_data/val/": "", "__MACOSX/ants_data/._1.jpg": ""})
FILES = {
    "/train.csv": GOOD_ROW.encode(),
    "/ants.zip": ZIP,
    "/half.zip": ZIP[: len(ZIP) // 2],
    "/slip.zip": zipped({"ants_data/1.jpg": b"", "ants_data/../../evil.txt": b"evil"}),
    "/org/tiny/resolve/main/config.json": b"{}",
    "/org/tiny/resolve/main/vocab.txt": "\n".join(TOKENS).encode(),
    "/org/tiny/resolve/main/model.safetensors": WEIGHTS,
    "/org/photos/resolve/main/config.json": b"{}",
    "/org/photos/resolve/main/model.safetensors": WEIGHTS,
    "/org/old/resolve/main/config.json": b"{}",
}
STATUS = {"/private": 403, "/broken": 500}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        data = FILES.get(self.path.replace("/cut", ""))
        self.send_response(STATUS.get(self.path, 404) if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        if data is not None:
            self.wfile.write(data[: len(data) // 2] if self.path.startswith("/cut") else data)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _direct(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


# places and downloads


def test_the_option_comes_first_then_the_variable_then_the_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("LRJAX_DATA", str(tmp_path))
    assert data_folder(None) == tmp_path
    assert data_folder(write(tmp_path, "mine/x", "").parent) == tmp_path / "mine"
    monkeypatch.setenv("LRJAX_DATA", "")
    monkeypatch.setattr("experiments.data.places.REPOSITORY", tmp_path)
    check_message(
        lambda: data_folder(None), FileNotFoundError, [str(tmp_path / "data"), "neither --data nor LRJAX_DATA"]
    )


def test_a_download_is_whole_and_unpacked_and_not_repeated(server, tmp_path, capsys):
    digest = hashlib.sha256(ZIP).hexdigest()
    sources = (
        Source(f"{server}/train.csv", "ag_news_csv/train.csv"),
        Source(f"{server}/ants.zip", "ants_data", size=len(ZIP), sha256=digest),
    )
    made = download(sources, tmp_path / "new")
    assert [path.name for path in made] == ["train.csv", "ants_data"]
    assert (tmp_path / "new/ants_data/train/ants/1.jpg").read_bytes() == jpeg()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"ag_news_csv", "ants_data"}
    assert download(sources, tmp_path / "new") == []
    assert capsys.readouterr().out.count("already there") == 2


def test_the_command_makes_a_folder_that_the_loader_reads(server, tmp_path, monkeypatch, capsys):
    files = tuple(Source(f"{server}/train.csv", f"ag_news_csv/{name}.csv") for name in ("train", "test"))
    monkeypatch.setitem(command.SOURCES, "ag_news", files)
    command.main(["ag_news", "--data", str(tmp_path / "data")])
    assert f"--data {tmp_path / 'data'}" in capsys.readouterr().out
    assert load_ag_news(tmp_path / "data").train.texts == ['Fears for pension Unions say "no".']
    monkeypatch.setitem(command.SOURCES, "ag_news", (Source(f"{server}/missing", "other"),))
    with pytest.raises(SystemExit, match=r"error: .*/missing. does not exist on the server \(404"):
        command.main(["ag_news", "--data", str(tmp_path / "data")])


def test_the_public_sources_are_checked_by_digest_or_small():
    sources = [source for group in command.SOURCES.values() for source in group]
    assert all(source.url.startswith("https://") for source in sources)
    assert all(source.sha256 and source.size for source in sources if not source.url.endswith("classes.txt"))


DOWNLOADS = {
    "404": ("/none", {}, FileNotFoundError, ["/none` does not exist on the server (404", "Check the name"]),
    "403": ("/private", {}, ConnectionError, ["refused by the server (403", "may be private"]),
    "500": ("/broken", {}, ConnectionError, ["refused by the server (500", "Try again later"]),
    "cut": ("/cut/train.csv", {}, ConnectionError, ["broke off", f"promised {len(GOOD_ROW)}", "Try again"]),
    "size": (
        "/train.csv",
        {"size": 7},
        ValueError,
        ["must have 7 bytes", f"got {len(GOOD_ROW)}", "get it from elsewhere"],
    ),
    "digest": ("/train.csv", {"sha256": "00ff"}, ValueError, ["must have the SHA-256 00ff", "got ", "try again"]),
}


@pytest.mark.parametrize(("path", "checks", "error", "parts"), DOWNLOADS.values(), ids=DOWNLOADS.keys())
def test_a_failed_download_leaves_what_was_there(server, tmp_path, path, checks, error, parts):
    target = write(tmp_path, "there.csv", "old")
    check_message(lambda: fetch(server + path, target, **checks), error, parts)
    assert [entry.name for entry in tmp_path.iterdir()] == ["there.csv"]
    assert target.read_text() == "old"


def test_without_a_network_the_message_says_so(tmp_path):
    # Port 9 of this machine discards; nothing listens there
    check_message(
        lambda: fetch("http://127.0.0.1:9/x.zip", tmp_path / "x.zip"),
        ConnectionError,
        ["`http://127.0.0.1:9/x.zip` could not be downloaded", "refused", "Check the network", "copy the file"],
    )


ARCHIVES = {
    "truncated": (FILES["/half.zip"], ["must be a zip archive", "not a zip file", "download it again"]),
    "a web page": (b"<html>", ["must be a zip archive", "6 bytes", "download it again"]),
    "a broken byte": (ZIP.replace(jpeg()[20:60], bytes(40), 1), ["Bad CRC-32", "download it again"]),
    "..": (FILES["/slip.zip"], ["'ants_data/../../evil.txt'", "leads outside", "Nothing was unpacked"]),
    "backslashes": (zipped({"ants_data\\..\\..\\evil": b""}), ["leads outside the folder"]),
    "absolute": (zipped({"/etc/evil": b""}), ["'/etc/evil'", "leads outside the folder"]),
    "a drive": (zipped({"C:/evil": b""}), ["'C:/evil'", "leads outside the folder"]),
    "a link": (link_archive(), ["'ants_data/link'", "is a link"]),
    "another top": (zipped({"bees_data/1.jpg": b""}), ["one top folder ants_data/", "'bees_data/1.jpg'"]),
    "empty": (zipped({}), ["one top folder ants_data/", "got no entries"]),
}


@pytest.mark.parametrize(("data", "parts"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_a_bad_archive_is_not_unpacked(tmp_path, data, parts):
    archive = write(tmp_path, "in/ants.zip", data)
    check_message(lambda: unpack(archive, tmp_path / "in" / "ants_data"), ValueError, [str(archive), *parts])
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "ants.zip"]


# AG News


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("A second\\team of the  #36;10 million prize", "A second team of the $10 million prize"),
        ("Rent.com for \\$415 million", "Rent.com for $415 million"),
        ('US\\$5,\\\\"he" said', 'US$5, "he" said'),
        ("Haiti #39;s straits", "Haiti's straits"),
        (" quot;It hurt, quot; AT amp;T said", '"It hurt," AT&T said'),
        ("Apple Inc. &lt;AAPL.O&gt; and &lt;A.N&gt;", "Apple Inc. <AAPL.O> and <A.N>"),
        ('&lt;A HREF="http://x.com/?s=1"&gt;IBM.N&lt;/A&gt;\\&lt;b&gt;up&lt;/b&gt;', "IBM.N up"),
        ("Stocks  fell &amp; rose;  1 < 2", "Stocks fell & rose; 1 < 2"),
        ("Sony #146;s  #151; caf\u00e9", "Sony\u2019s \u2014 caf\u00e9"),
    ],
)
def test_artefacts_are_undone(raw, text):
    assert clean(raw) == text
    assert clean(text) == text


def test_articles_have_labels_from_0_titles_and_descriptions(tmp_path):
    train = '\ufeff"1","","Only text"\n"4","Only title",""\n'
    news = load_ag_news(write_ag_news(tmp_path, train=train, classes="World\nSports\nBusiness\nSci/Tech\n"))
    assert news.train.labels.dtype == np.int32
    assert news.train.labels.tolist() == [0, 3]
    assert news.train.texts == ["Only text", "Only title"]
    assert news.test.titles == ["Fears for pension"]
    assert news.classes == CLASSES
    assert load_ag_news(tmp_path / "ag_news_csv").train.texts == news.train.texts


NEWS = {
    "empty": ({"train": ""}, ["train.csv` must hold articles", "empty file", "download ag_news"]),
    "two columns": ({"test": GOOD_ROW + '"1","x"\n'}, ["test.csv, line 2`", "three columns", "got 2", "'x'"]),
    "a blank line": ({"train": GOOD_ROW + "\n"}, ["train.csv, line 2`", "three columns", "got 0"]),
    "class 5": ({"train": GOOD_ROW.replace("3", "5")}, ["line 1`", "class from 1 to 4", "got '5'"]),
    "class 0": ({"train": GOOD_ROW.replace("3", "0")}, ["line 1`", "got '0'", "add 1 to each"]),
    "a header": ({"train": "Class Index,Title,Description\n"}, ["line 1`", "'Class Index'", "Delete this header"]),
    "no text": ({"train": '"1"," ","\\"\n'}, ["line 1`", "a title or a description", "Delete the line"]),
    "latin-1": ({"train": GOOD_ROW.encode() + b'"1","caf\xe9",""\n'}, ["line 2`", "UTF-8", "0xe9", "iconv"]),
    "an open quote": ({"train": GOOD_ROW + '"1","x'}, ["train.csv, line 2`", "row of a CSV file", "unexpected end"]),
    "other classes": ({"classes": "Cats\nDogs\n"}, ["classes.txt` must hold the lines World", "Cats"]),
}


@pytest.mark.parametrize(("files", "parts"), NEWS.values(), ids=NEWS.keys())
def test_a_bad_article_is_named_by_file_and_line(tmp_path, files, parts):
    check_message(lambda: load_ag_news(write_ag_news(tmp_path, **files)), ValueError, parts)


# tokens


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return load_wordpiece(write(tmp_path_factory.mktemp("vocabulary"), "vocab.txt", "\n".join(TOKENS) + "\n"))


def test_rows_begin_with_cls_end_with_sep_and_are_padded_or_cut(tokenizer):
    ids, mask = encode(tokenizer, ["The ants.", "winner winner winner", "", "Caf\u00e9"], 5)
    assert (ids.dtype, mask.dtype) == (np.int32, bool)
    np.testing.assert_array_equal(ids, [[2, 4, 5, 8, 3], [2, 6, 7, 6, 3], [2, 3, 0, 0, 0], [2, 1, 3, 0, 0]])
    np.testing.assert_array_equal(mask.sum(1), [5, 5, 2, 3])
    target = encode_target(tokenizer, ["The winner"], 6)
    np.testing.assert_array_equal(target, [[2, 4, 6, 7, 3, 0]])
    assert decode(tokenizer, target) == ["the winner"]
    assert decode(tokenizer, jnp.array([[2, 4, 5, 3, 6, 6], [4, 0, 5, 0, 6, 2]])) == ["the ants", "the ants win"]


def test_a_folder_its_json_and_its_vocabulary_are_one_tokenizer(tokenizer, tmp_path):
    tokenizer_json = json.loads(tokenizer.to_str()) | {
        "truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right"}
    }
    write(tmp_path, "tokenizer.json", json.dumps(tokenizer_json))
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        np.testing.assert_array_equal(encode(load_wordpiece(path), ["The ants win."], 6)[0], [[2, 4, 5, 6, 8, 3]])


def test_a_vocabulary_with_capitals_keeps_them(tmp_path):
    cased = load_wordpiece(write(tmp_path, "vocab.txt", "\r\n".join([*TOKENS, "The"])))
    np.testing.assert_array_equal(encode(cased, ["The the"], 4)[0], [[2, 9, 4, 3]])


def test_a_learnt_vocabulary_is_the_same_each_time():
    """The trainer alone gives other tokens and other numbers each time on these words, which are all equally common."""
    texts = [f"{a}{b} {b}{a}" for a in "abcdefghij" for b in "klmnopqrst"]
    first, *others = (train_wordpiece(texts, 120).get_vocab() for _ in range(4))
    assert all(other == first for other in others)
    assert sorted(first, key=first.__getitem__)[:5] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert sorted(first.values()) == list(range(120))


def test_a_learnt_vocabulary_knows_its_texts_and_returns_them():
    texts = ["ants and bees win", "the ##ant won, the bee lost", "plants"]
    learnt = train_wordpiece(texts, 60)
    ids, mask = encode(learnt, texts, 40)
    assert not (ids == learnt.token_to_id("[UNK]")).any()
    assert mask.sum() < 60
    assert decode(learnt, ids)[0] == texts[0]


def tokens_from(folder, lines):
    return lambda: load_wordpiece(write(folder, "vocab.txt", lines))


TOKEN_CASES = {
    "no file": (lambda t, f: load_wordpiece(f / "none.txt"), FileNotFoundError, ["existing file", "train_wordpiece"]),
    "an empty folder": (lambda t, f: load_wordpiece(f), FileNotFoundError, ["tokenizer.json or vocab.txt", "Give the"]),
    "a token twice": (
        lambda t, f: load_wordpiece(write(f, "vocab.txt", "[PAD]\na\n[UNK]\na\n")),
        ValueError,
        ["vocab.txt, line 4` must be a new token", "'a' of line 2 again"],
    ),
    "an empty line": (
        lambda t, f: load_wordpiece(write(f, "v.txt", "a\n\nb")),
        ValueError,
        ["line 2`", "an empty line"],
    ),
    "no [CLS]": (
        lambda t, f: load_wordpiece(write(f, "vocab.txt", "[PAD]\n[UNK]\n[SEP]\na")),
        ValueError,
        ["must have the tokens [PAD], [UNK], [CLS], [SEP]", "none called [CLS]", "vocabulary of a BERT"],
    ),
    "bytes": (lambda t, f: load_wordpiece(write(f, "v.txt", b"\xff\xfe")), ValueError, ["text file in UTF-8"]),
    "no json": (lambda t, f: load_wordpiece(write(f, "t.json", "{}")), ValueError, ["tokenizer.json", "Download it"]),
    "another json": (
        lambda t, f: load_wordpiece(
            write(f, "t.json", json.dumps({"model": {"type": "BPE", "vocab": {}, "merges": []}, "added_tokens": []}))
        ),
        ValueError,
        ["must be a WordPiece tokenizer", "got BPE"],
    ),
    "one string": (
        lambda t, f: encode(t, "text", 8),
        TypeError,
        ["`encode(texts)` must be a list", "got str", "[text]"],
    ),
    "None in texts": (lambda t, f: encode(t, ["a", None], 8), TypeError, ["got NoneType at index 1", "leave it out"]),
    "no texts": (lambda t, f: encode(t, [], 8), ValueError, ["at least one text", "got none"]),
    "length 2": (lambda t, f: encode(t, ["a"], 2), ValueError, ["(length=...)", ">= 3", "got 2", "[CLS], a token"]),
    "length a float": (lambda t, f: encode(t, ["a"], 8.0), TypeError, ["whole number", "got 8.0", "Write 8."]),
    "empty titles": (
        lambda t, f: encode_target(t, ["a", "", " "], 8),
        ValueError,
        ["got 2 empty ones, the first at index 1", "Leave out the articles without a title"],
    ),
    "logits": (lambda t, f: decode(t, np.ones((2, 3, 9))), TypeError, ["whole numbers", "float64", "jnp.argmax"]),
    "one row": (lambda t, f: decode(t, np.ones(3, int)), ValueError, ["shape (texts, length)", "ids[None]"]),
    "numbers beyond": (lambda t, f: decode(t, np.array([[2, 9]])), ValueError, ["from 0 to 8", "got 2 to 9"]),
    "no room": (lambda t, f: train_wordpiece(["abc"], 9), ValueError, ["at least 10", "got 9", "Several thousand"]),
    "no words": (lambda t, f: train_wordpiece(["", " "], 99), ValueError, ["must hold words", "2 texts without any"]),
}


@pytest.mark.parametrize(("call", "error", "parts"), TOKEN_CASES.values(), ids=TOKEN_CASES.keys())
def test_bad_texts_and_vocabularies(tokenizer, tmp_path, call, error, parts):
    check_message(lambda: call(tokenizer, tmp_path), error, parts)


# photographs


def test_photographs_are_squares_in_the_order_of_their_names(tmp_path):
    write_photos(tmp_path, 3, imageNotFound_gif=b"<html>", _DS_Store=b"")
    photos = load_hymenoptera(tmp_path, 28)
    assert photos.train_images.shape == (6, 32, 32, 3)
    assert photos.val_images.shape == (6, 28, 28, 3)
    assert photos.train_images.dtype == np.uint8
    assert photos.train_labels.tolist() == photos.val_labels.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(photos.val_images, photos.train_images[:, 2:30, 2:30])


def test_a_photograph_keeps_its_proportions_and_its_middle(tmp_path):
    write_photos(tmp_path, 1)
    row = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (64, 1))  # 128 wide, 64 high, brighter to the right
    Image.fromarray(row).save(tmp_path / "hymenoptera_data/train/ants/0.jpg", quality=100)
    image = load_hymenoptera(tmp_path, 56).train_images[0, :, :, 0]
    np.testing.assert_allclose(image, np.broadcast_to(np.arange(64, 192, 2), (64, 64)), atol=4)


PHOTOS = {
    "no image": ({"x_jpg": b"<html>"}, ["x.jpg` must be a photograph", "cannot identify", "Move it away"]),
    "cut short": ({"x_jpg": jpeg(400, 300)[:2000]}, ["x.jpg` must be a photograph", "truncated", "download it again"]),
    "empty": ({"x_jpg": b""}, ["x.jpg` must be a photograph", "cannot identify"]),
    "another gif": ({"anim_gif": b"GIF89a"}, ["anim.gif` must be a photograph"]),
}


@pytest.mark.parametrize(("files", "parts"), PHOTOS.values(), ids=PHOTOS.keys())
def test_a_bad_photograph_is_named(tmp_path, files, parts):
    write_photos(tmp_path, 1, **files)
    check_message(lambda: load_hymenoptera(tmp_path, 8), ValueError, parts)


LAYOUTS = {
    "no folder": (
        lambda f: load_hymenoptera(f / "x", 8),
        FileNotFoundError,
        ["got ", "no such folder", "hymenoptera --data"],
    ),
    "another folder": (
        lambda f: load_hymenoptera(f / "hymenoptera_data/train", 8),
        FileNotFoundError,
        ["['ants', 'bees']"],
    ),
    "size 0": (lambda f: load_hymenoptera(f, 0), ValueError, ["(size=...)", ">= 1", "pixels"]),
    "no photographs": (
        lambda f: [path.unlink() for path in f.glob("*/val/bees/*")] and load_hymenoptera(f, 8),
        ValueError,
        ["bees` must hold photographs, got none", "Download"],
    ),
    "no class": (
        lambda f: (f / "hymenoptera_data/val/bees").rename(f / "wasps") and load_hymenoptera(f, 8),
        FileNotFoundError,
        ["hymenoptera_data/{train/ants,", "val/bees is missing"],
    ),
    "no train.csv": (
        lambda f: load_ag_news(f),
        FileNotFoundError,
        ["ag_news_csv/{train.csv,test.csv}", "download ag_news"],
    ),
    "no data": (
        lambda f: data_folder(f / "none"),
        FileNotFoundError,
        ["given with --data", "LRJAX_DATA=DIR", "download"],
    ),
    "a file": (lambda f: data_folder(next(f.glob("*/*/*/*"))), NotADirectoryError, ["got the file", "--data DIR"]),
    "one image": (
        lambda f: augment(jax.random.key(0), np.zeros((8, 8, 3)), 4),
        ValueError,
        ["(8, 8, 3)", "image[None]"],
    ),
    "a traced size": (
        lambda f: jax.jit(augment)(jax.random.key(0), np.zeros((1, 8, 8, 3)), 4),
        TypeError,
        ["`augment(size=...)`", "static argument"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_bad_folder_or_size(tmp_path, call, error, parts):
    check_message(lambda: call(write_photos(tmp_path, 1)), error, parts)


def test_normalised_images_have_the_scale_of_imagenet():
    images = np.array([[[0, 0, 0], [255, 255, 255]]], np.uint8)
    wanted = [[-np.divide(MEAN, STD), np.divide(np.subtract(1, MEAN), STD)]]
    np.testing.assert_allclose(normalise(images), wanted, rtol=1e-6)


@pytest.mark.slow
def test_crops_have_the_areas_ratios_and_flips_of_the_tutorial():
    """On an image whose colours are its coordinates, a crop tells where it is from."""
    side, size = 64, 16
    rows, columns = np.mgrid[:side, :side].astype(np.uint8)
    image = np.stack([columns, rows, 0 * rows], axis=-1)
    crops = jax.jit(augment, static_argnums=2)(jax.random.key(0), jnp.tile(image, (1000, 1, 1, 1)), size)
    places = (crops * jnp.array(STD) + jnp.array(MEAN)) * 255
    widths = np.asarray(places[:, 8, 12, 0] - places[:, 8, 4, 0]) * size / 8
    heights = np.asarray(places[:, 12, 8, 1] - places[:, 4, 8, 1]) * size / 8
    area, ratio = np.abs(widths) * heights / side**2, np.abs(widths) / heights
    assert 0.079 < area.min() < 0.1
    assert 0.9 < area.max() < 1.001
    assert 0.74 < ratio.min() < 0.78
    assert 1.28 < ratio.max() < 1.35
    assert 0.45 < (widths < 0).mean() < 0.55
    lefts = np.asarray(places[..., 0].min(axis=(1, 2)))
    assert lefts.min() >= -0.01  # never from outside
    assert places[..., :2].max() <= side - 0.99


def test_a_crop_depends_on_the_key_and_its_index_alone():
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    keys = jax.random.split(jax.random.key(3), 2)
    batches = np.stack([images, np.concatenate([images[:2], images[:2]])])
    crop = jax.jit(jax.vmap(lambda key, images: augment(key, images, 8)))
    several, repeated = crop(keys[jnp.array([0, 0])], batches)
    np.testing.assert_allclose(repeated[:2], several[:2], rtol=1e-5, atol=1e-5)
    assert not np.allclose(repeated[2:], several[:2])
    assert not np.allclose(crop(keys, batches)[1, :2], several[:2])


# weights


def test_weights_are_found_in_a_file_a_folder_and_the_hub(server, tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"w": np.arange(6.0).reshape(2, 3)}, path)
    assert find_weights(path) == find_weights(str(tmp_path)) == path
    np.testing.assert_array_equal(read_safetensors(path)["w"], [[0, 1, 2], [3, 4, 5]])
    for name, files in {"org/tiny": 3, "org/photos": 2}.items():
        found = find_weights(name, tmp_path / "cache", base_url=server)
        assert len(list(found.parent.iterdir())) == files
        assert find_weights(name, tmp_path / "cache", base_url="http://127.0.0.1:9") == found if files == 3 else True
    assert read_safetensors(found)["a"].astype(np.float32).tolist() == [0.0, 1.0]
    assert load_wordpiece(tmp_path / "cache/org--tiny").token_to_id("ants") == 5


GOOD_WEIGHTS = header(a={"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}) + bytes(16)
STRANGE = header(a={"dtype": "F8_E8M0", "shape": [1], "data_offsets": [0, 1]}) + b"\x00"
WEIGHT_CASES = {
    "cut short": (
        lambda f, s: read_safetensors(write(f, "m", GOOD_WEIGHTS[:-3])),
        ValueError,
        ["cut short", "bytes that"],
    ),
    "cut in the header": (lambda f, s: read_safetensors(write(f, "m", GOOD_WEIGHTS[:20])), ValueError, ["cut short"]),
    "empty": (lambda f, s: read_safetensors(write(f, "m", b"")), ValueError, ["0 bytes", "download it again"]),
    "a pointer": (
        lambda f, s: read_safetensors(write(f, "m", "version https://git-lfs.github.com/spec/v1\n")),
        ValueError,
        ["Git LFS pointer", "git lfs pull"],
    ),
    "a type": (lambda f, s: read_safetensors(write(f, "m", STRANGE)), ValueError, ["types that NumPy has", "float32"]),
    "no file": (lambda f, s: read_safetensors(f / "none"), FileNotFoundError, ["existing file", "find_weights"]),
    "a pickle": (
        lambda f, s: find_weights(write(f, "model.bin", "")),
        ValueError,
        ["must be a .safetensors file", "model.bin", "save_file"],
    ),
    "a folder of pickles": (
        lambda f, s: find_weights(write(f, "pytorch_model.bin", "").parent),
        FileNotFoundError,
        ["a folder with model.safetensors", "with pytorch_model.bin", "Convert it"],
    ),
    "an empty folder": (lambda f, s: find_weights(f), FileNotFoundError, ["with nothing", "Give the folder"]),
    "a path": (lambda f, s: find_weights(f / "none/m.safetensors"), FileNotFoundError, ["which does not exist", "hub"]),
    "no cache": (lambda f, s: find_weights("org/tiny"), ValueError, ["give a folder", "find_weights(source, cache)"]),
    "no model": (lambda f, s: find_weights("org/none", f, base_url=s), FileNotFoundError, ["'org/none'", "(404"]),
    "old format": (
        lambda f, s: find_weights("org/old", f, base_url=s),
        FileNotFoundError,
        ["a model of the hub with model.safetensors", "'org/old'"],
    ),
    "outside": (
        lambda f, s: find_weights("../none/x", f, base_url=s),
        FileNotFoundError,
        ["'../none/x'", "does not exist"],
    ),
}


@pytest.mark.parametrize(("call", "error", "parts"), WEIGHT_CASES.values(), ids=WEIGHT_CASES.keys())
def test_bad_weights(server, tmp_path, call, error, parts):
    check_message(lambda: call(tmp_path, server), error, parts)


# the real data


@pytest.fixture
def real():
    if not os.environ.get("LRJAX_DATA"):
        pytest.skip("LRJAX_DATA is not set: the real data are not here")
    return data_folder(None)


def test_the_real_articles(real):
    news = load_ag_news(real)
    assert np.bincount(news.test.labels).tolist() == [1900] * 4
    assert all(news.test.titles)
    assert len(news.train.labels) in (4_999, 120_000)
    assert not any("\\" in text or " #39;" in text or "&lt;" in text for text in news.train.texts + news.test.texts)
    assert news.test.titles[1].startswith("The Race is On: Second Private Team Sets Launch Date")
    assert "for the $10 million Ansari X Prize" in news.test.descriptions[1]


def test_the_real_photographs(real):
    photos = load_hymenoptera(real, 28)
    assert photos.train_images.shape == (244, 32, 32, 3)
    assert np.bincount(photos.train_labels).tolist() == [123, 121]
    assert np.bincount(photos.val_labels).tolist() == [70, 83]
    normal = np.asarray(normalise(photos.val_images))
    assert abs(normal.mean()) < 0.2
    assert 0.9 < normal.std() < 1.3
