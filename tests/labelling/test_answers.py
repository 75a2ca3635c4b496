"""Each format is recognised by its content and gives the same answers."""

import json
from pathlib import Path

import pytest

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.labelling.answers import Answer, read
from tests.synthetic import put, sha256
from tests.unlabelled import annotation, export

A = sha256("a")
IMAGE = "/data/local-files/?d=data/raw/own/a%20b.jpg"
PATH = "data/raw/own/a b.jpg"


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def test_our_own_csv(tmp_path: Path) -> None:
    path = write(
        tmp_path / "mine.txt", f"rank,path,sha256,class_name,source,purpose\n1,a.jpg,{A},rose,Ann,test\n2,b.jpg,,,,\n3,c.jpg,,NA,,\n"
    )
    assert read(path) == [
        Answer(A, "", "a.jpg", ("rose",), "Ann", "test"),
        Answer("", "", "b.jpg", (), "mine.txt"),
        Answer("", "", "c.jpg", ("NA",), "mine.txt"),
    ]


def test_json_of_label_studio(tmp_path: Path) -> None:
    data = {"image": IMAGE, "image_id": "a b.jpg", "sha256": A}
    other = annotation("wild")
    other["result"][0]["from_name"] = "place"  # another control of the same task
    both = annotation("rose")
    both["result"] += [*other["result"], {"type": "relation", "from_id": "r1"}]
    given = [annotation("rose", by={"id": 4, "email": "ann@example.org"}), annotation("rose", cancelled=True), annotation(), both]
    found = read(
        export(tmp_path / "x", [(data, given), ({"image": IMAGE}, []), ({"image": IMAGE}, [annotation("rose", "tulip", by=None)])])
    )
    assert found == [
        Answer(A, "a b.jpg", PATH, ("rose",), "ann@example.org"),
        Answer(A, "a b.jpg", PATH, (), "annotator 1"),
        Answer(A, "a b.jpg", PATH, (), "annotator 1"),
        Answer(A, "a b.jpg", PATH, ("rose",), "annotator 1"),
        Answer("", "", PATH, (), "x"),
        Answer("", "", PATH, ("rose", "tulip"), "x"),
    ]


def test_json_min_and_csv_of_label_studio(tmp_path: Path) -> None:
    rows = [
        {"image": IMAGE, "image_id": "a b.jpg", "sha256": A, "id": 1, "choice": "rose", "annotator": 2, "annotation_id": 3},
        {"image": IMAGE, "id": 2, "annotator": "ann@example.org", "annotation_id": 4},
        {"image": IMAGE, "id": 3, "choice": {"choices": ["rose", "tulip"]}, "annotator": 2, "annotation_id": 5},
    ]
    expected = [
        Answer(A, "a b.jpg", PATH, ("rose",), "annotator 2"),
        Answer("", "", PATH, (), "ann@example.org"),
        Answer("", "", PATH, ("rose", "tulip"), "annotator 2"),
    ]
    assert read(write(tmp_path / "min", json.dumps(rows))) == expected
    text = (
        f"image,image_id,sha256,id,choice,annotator,annotation_id\n{IMAGE},a b.jpg,{A},1,rose,2,3\n{IMAGE},,,2,,ann@example.org,4\n"
        f'{IMAGE},,,3,"{{""choices"":[""rose"",""tulip""]}}",2,5\n'
    )
    assert read(write(tmp_path / "csv", text)) == expected


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    root = tmp_path / "sorted"
    rose, other = put(root / "rose/1.png", 0), put(root / "unlabelled/2.png", 1)
    (root / "tulip").mkdir()  # no image was put into it
    (root / "rose/Thumbs.db").write_text("x")
    assert read(root) == [
        Answer(file_sha256(rose), "", "rose/1.png", ("rose",), "sorted"),
        Answer(file_sha256(other), "", "unlabelled/2.png", (), "sorted"),
    ]
    put(root / "3.png", 2)
    assert message(root).startswith(f"{root}: 1 image outside the class folders (3.png); expected ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "the file is empty; expected a CSV file with the columns class_name and sha256, path or image_id, an export of Label Studio"),
        ("path,class_name\n", "no answers in it; "),
        ("[]", "no answers in it; "),
        ("filename,label\na.jpg,rose\n", "the columns are filename, label; expected a CSV file with the columns class_name and "),
        ("path,class_name,path\na,b,c\n", "column path occurs 2 times; expected once"),
        ("path;class_name\na;b\n", "the columns are path;class_name; expected "),
        ("<annotations><version>1.1</version></annotations>", "the columns are <annotations><version>1.1</version></ann; expected "),
        ('[{"data": {"image": "a.jpg"}, "annotations": [', "line 1: not JSON, or cut off: "),
        ('{"images": []}', "not a list of tasks; expected "),
        ('["a"]', "not a list of tasks; expected "),
        ('[{"id": 1}]', "task 1: data: field required; expected "),
        ('[{"data": {}, "annotations": [{"result": [{"type": "choices", "value": {"choices": 3}}]}]}]', "task 1: annotations.0.result.0."),
        ('[{"data": {"image": "a.jpg"}, "predictions": []}]', "1 task without annotations; expected what Label Studio exports "),
        ('[{"annotation_id": 1, "label": "rose"}]', "no answers named 'choice', only annotation_id, label; expected "),
        ('image,annotation_id,choice\na.jpg,1,"{""choices"": 3"\n', "choice = '{\"choices\": 3': expected the name of a class"),
        ('[{"annotation_id": 1, "choice": ["rose"]}]', "choice = \"['rose']\": expected the name of a class"),
    ],
)
def test_other_content_is_refused_in_one_line(tmp_path: Path, content: str, expected: str) -> None:
    path = write(tmp_path / "file", content)
    assert message(path).startswith(f"{path}: {expected}")


def test_binary_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "table.xlsx").write_bytes(b"PK\x03\x04\xff")
    assert ": byte 4 is not UTF-8 " in message(tmp_path / "table.xlsx")
    (tmp_path / "export.json").write_bytes(b"[\xff]")
    assert ": byte 1 is not UTF-8 " in message(tmp_path / "export.json")
    assert message(tmp_path / "gone.json").endswith("gone.json: no such file or folder")
    (tmp_path / "empty").mkdir()
    assert ": no image in it; expected " in message(tmp_path / "empty")
