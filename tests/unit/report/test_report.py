"""The report: one self-contained page of a run directory's files, whatever their names and whatever is missing."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpc_sr.errors import OutputError, RunDirectoryError
from hpc_sr.report.figures.thinning import averaged, thinned
from hpc_sr.report.html import write_report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Checks that elements nest, and gathers text and the places that a page points to."""

    def __init__(self, path: Path):
        super().__init__()
        self.open, self.words, self.targets, self.tags = [], [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.targets += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_holds_results_course_pictures_and_provenance(run_dir):
    page = Page(write_report(run_dir))
    for expected in (
        "first_run",
        "RMSE 31.25 is 0.250 of bicubic's 125.00",
        "mean over 2 scenes",
        "1 234",
        "12.5 %",
        "10 min",
        "300 × 302",
        "max 10000, ssim k1 0.01",
        "reflectance × 10 000",
        "task: s2x",
        "0123abcd4567",
        "torch 2.13.0",
        "n1, n2",
        "S2A_two.SAFE",
        "degradation wald",
        "B8A",
    ):
        assert expected in page.text, expected
    curves, bars_and_intervals, spectra, pictures, errors_and_scale, pixels = 4, 2, 3, 5, 2 + 1, 1
    assert page.tags.count("img") == curves + bars_and_intervals + spectra + pictures + errors_and_scale + pixels
    assert "horovod" not in page.text


def test_the_page_begins_with_a_part_of_a_scene_before_and_after(run_dir, panels):
    before = Page(write_report(run_dir))
    native = panels(methods=("s2x",))
    for name in ("truth", "guide"):
        del native[name]
    np.savez(run_dir / "evaluate" / "native_two.npz", **native)
    path = write_report(run_dir)
    page, text = Page(path), path.read_text(encoding="utf-8")
    assert page.tags.count("img") == before.tags.count("img") + 2
    given, made, numbers = (text.index(words) for words in ("as measured: B11", "by s2x: B11", 'class="tiles"'))
    assert given < made < numbers
    assert "12 × 12 px" in page.text and "24 × 24 px" in page.text
    np.savez(run_dir / "evaluate" / "native_absent.npz", **native)  # of a scene that is no longer evaluated
    assert Page(write_report(run_dir)).tags.count("img") == page.tags.count("img")


def test_a_run_with_a_critic_shows_both_networks(run_dir):
    alone = Page(write_report(run_dir))
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    told = {"adversarial": 0.1, "critic_loss": -0.5, "critic_gradient_norm": 2.0}
    told |= {"critic_score_real": 0.25, "critic_score_fake": -0.25}
    judged = [line | told if line["kind"] == "train" else line for line in lines]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in judged))
    page = Page(write_report(run_dir))
    for caption in ("The critic's mean scores", "Adversarial losses", "Norms of gradients"):
        assert caption in page.text and caption not in alone.text
    assert page.tags.count("img") == alone.tags.count("img") + 3


def test_no_figure_shows_the_markup_of_its_labels(run_dir):
    figures = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", write_report(run_dir).read_text(encoding="utf-8"))
    words = [re.findall(r"<text[^>]*>([^<]*)<", base64.b64decode(figure).decode()) for figure in figures]
    assert all(words) and not [word for figure in words for word in figure if re.search(r"[$\\{]", word)]


def test_the_page_needs_nothing_but_itself(run_dir):
    path = write_report(run_dir)
    assert {target.split(",")[0].split(":")[0] for target in Page(path).targets if target[0] != "#"} == {"data"}
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|<script|<link", text)
    anchors = [target[1:] for target in Page(path).targets if target[0] == "#"]
    assert all(f'id="{anchor}"' in text for anchor in anchors)


def test_what_the_run_has_not_got_to_is_said(run_dir):
    for path in (run_dir / "evaluate").iterdir():
        path.unlink()
    (run_dir / "environment.json").unlink()
    text = Page(write_report(run_dir)).text
    assert "not been evaluated yet" in text
    assert "no environment.json" in text
    assert "0.160" in text, "until it is evaluated the best validation stands for the result"
    (run_dir / "metrics.jsonl").write_text("")
    assert "No metrics have been written yet" in Page(write_report(run_dir)).text


def test_an_evaluation_without_panels_is_shown_all_the_same(run_dir):
    (run_dir / "evaluate" / "panels_synthesis_one.npz").unlink()
    assert "No picture panels" in Page(write_report(run_dir)).text


def test_a_folder_that_holds_only_evaluate_has_a_page_without_training(evaluated):
    methods = ("nearest", "bilinear", "bicubic", "guided", "atprk", "supreme")
    page = Page(write_report(evaluated("classical", family=None, others=methods)))
    assert "best of 6 methods is supreme" in page.text
    assert "synthesis: RMSE supreme / bicubic 0.526 " in page.text
    assert "#training" not in page.targets
    assert "Recipe" not in page.text
    assert "environment.json" not in page.text
    bars_and_intervals, spectra, pictures_and_scale, estimates, pixels = 2, 3, 3 + 1, 2 * 6, 1
    assert page.tags.count("img") == bars_and_intervals + spectra + pictures_and_scale + estimates + pixels


def test_predictions_of_somebody_else_against_a_truth_have_a_page(evaluated, evaluation):
    folder = evaluated("theirs", family=None, others=("mine", "yours"), protocol="truth", task=None, scenes=("one",))
    told = evaluation(family=None, others=("mine", "yours"), protocol="truth", task=None, scenes=("one",))
    bare = told | {"degradation": None, "level": "", "scale": None, "paired": {}, "intervals": {}}
    for scene in bare["scenes"]:
        del scene["spectra"]
    (folder / "evaluate" / "truth.json").write_text(json.dumps(bare))
    page = Page(write_report(folder))
    assert "given reference of higher resolution" in page.text
    assert "Power spectra" not in page.text
    assert "98th percentile of mine" in page.text


def test_protocols_land_cover_and_paired_differences_are_shown(evaluated):
    methods = ("nearest", "bilinear", "bicubic", "guided", "atprk", "supreme")
    for protocol in ("synthesis", "consistency", "truth"):
        folder = evaluated("all", protocol=protocol, others=methods, level="L2A")
    page = Page(write_report(folder))
    for expected in ("By land cover", "water: s2x", "s2x − supreme", "Consistency:", "Truth:", "marked A, B, C, D"):
        assert expected in page.text, expected
    assert page.text.count("Paired comparison") == 3
    assert "synthesis: SRE, dB" in page.text
    assert "consistency: SRE, dB" not in page.text, "plain up-sampling scores well there"


def test_odd_names_are_text_and_never_markup(evaluation, run_dir):
    odd = '<script>alert("x")</script>&amp;'
    (run_dir / "evaluate" / "synthesis.json").write_text(
        json.dumps(evaluation(family=odd, scenes=(odd.replace("/", "_"),)))
    )
    page = Page(write_report(run_dir))
    assert odd in page.text
    assert "<b>bold</b>" in page.text
    assert "script" not in page.tags
    assert "b" not in page.tags


def test_a_torn_last_line_and_a_value_that_is_no_number_do_no_harm(run_dir):
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 1100, "samples": 1, "loss": NaN}\n{"kind": "tr')
    assert "1 100" in Page(write_report(run_dir)).text


def test_a_second_report_replaces_the_first_and_leaves_nothing_else(run_dir):
    before = sorted(path.name for path in run_dir.iterdir())
    first = write_report(run_dir).read_bytes()
    assert write_report(run_dir).read_bytes() == first, "the same files give the same page"
    assert sorted(path.name for path in run_dir.iterdir()) == sorted([*before, "report.html"])


def test_each_target_of_a_joint_run_has_a_section_of_its_own(joint):
    for protocol in ("synthesis", "consistency"):
        folder = joint("joint", protocol=protocol)
    path = write_report(folder)
    page, text = Page(path), path.read_text(encoding="utf-8")
    targets = [
        f"{protocol}_{target}" for protocol in ("synthesis", "consistency") for target in ("target20", "target60")
    ]
    for target in targets:
        assert f"#{target}" in page.targets and f'<section id="{target}">' in text
        assert f"{target.replace('_', ', ').capitalize()}: " in page.text
    assert "31.25" in page.text and "47.00" in page.text and "B01" in page.text and "B8A" in page.text
    assert page.text.count("All bands are degraded by the task's scale") == 2
    assert "synthesis, target60: SRE, dB" in page.text
    assert "consistency, target60: SRE, dB" not in page.text, "plain up-sampling scores well there"
    assert "No picture panels" not in page.text


@pytest.mark.parametrize("name", ["recipe.yaml", "metrics.jsonl"])
def test_a_folder_that_is_no_run_directory_is_an_error(run_dir, name):
    (run_dir / name).unlink()
    with pytest.raises(RunDirectoryError, match=re.escape(name)) as caught:
        write_report(run_dir)
    assert caught.value.cure


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("synthesis.json", b"{"),
        ("synthesis.json", b"[]"),
        ("synthesis.json", b'{"schema": 1}'),
        ("synthesis.json", b'{"schema": 2}'),
        ("panels_synthesis_one.npz", b"PK torn"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(run_dir, name, content):
    (run_dir / "evaluate" / name).write_bytes(content)
    with pytest.raises(RunDirectoryError) as caught:
        write_report(run_dir)
    assert name in str(caught.value)


def test_panels_of_an_older_version_are_named(run_dir):
    path = run_dir / "evaluate" / "panels_synthesis_one.npz"
    with np.load(path) as arrays:
        older = {key: values for key, values in arrays.items() if key != "method_1"}
    np.savez(path, **older)
    with pytest.raises(RunDirectoryError, match="method_1"):
        write_report(run_dir)


def test_neither_a_run_nor_an_evaluation_is_an_error(run_dir, tmp_path):
    for name in ("recipe.yaml", "metrics.jsonl", "evaluate/synthesis.json"):
        (run_dir / name).unlink()
    for folder in (run_dir, tmp_path / "absent"):
        with pytest.raises(RunDirectoryError, match="no recipe.yaml and no evaluate"):
            write_report(folder)
        assert not (folder / "report.html").exists()


def test_a_page_that_cannot_be_written_is_an_error(run_dir):
    (run_dir / "report.html").mkdir()
    with pytest.raises(OutputError, match="report.html"):
        write_report(run_dir)


def test_figures_are_svg_images_whose_words_are_text(run_dir):
    text = write_report(run_dir).read_text(encoding="utf-8")
    svgs = [base64.b64decode(code).decode() for code in re.findall(r"data:image/svg\+xml;base64,([^\"]+)", text)]
    assert all("<svg" in svg for svg in svgs)
    assert sum(">network</text>" in svg for svg in svgs) == 1
    assert sum(">frequency, cycles per pixel</text>" in svg for svg in svgs) == 3
    assert sum(">wavelength, nm</text>" in svg for svg in svgs) == 1


def test_a_page_stays_small_however_long_the_run_was(run_dir):
    def metrics(count: int) -> str:
        rng = np.random.default_rng(0)
        shares = {"compute_share": 0.5, "communication_share": 0.25, "data_wait_share": 0.25}
        lines = [
            {"kind": kind, "step": step, "samples": 16 * step, "loss": loss, "rmse": loss, "rmse_bicubic": 2.0}
            | {"learning_rate": 1e-3, "samples_per_s": loss, "seconds": 1.0, **shares}
            for step, loss in enumerate(rng.random(count).tolist(), start=1)
            for kind in ("train", "validation")
        ]
        return "".join(json.dumps(line) + "\n" for line in lines)

    sizes = []
    for count in (1_000, 12_000):
        (run_dir / "metrics.jsonl").write_text(metrics(count))
        sizes.append(write_report(run_dir).stat().st_size)
    assert sizes[1] < 1.2 * sizes[0] < 2e6


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(4, 60))
def test_a_thinned_curve_keeps_its_ends_and_what_stands_out(values, most):
    points = [(2.0 * index, value) for index, value in enumerate(values)]
    found = thinned(points, most)
    assert len(found) <= most and found == sorted(set(found) & set(points))
    assert len(points) > most or found == points
    assert found[0] == points[0] and found[-1] == points[-1]
    assert {max(values), min(values)} <= {value for _, value in found}
    edges, (means,) = averaged([*range(len(values) + 1)], [values], most)
    assert len(edges) == len(means) + 1 <= most + 1
    assert (edges[0], edges[-1]) == (0, len(values)) and edges == sorted(set(edges))
    widths = np.diff(edges)
    assert np.dot(means, widths) == pytest.approx(sum(values), rel=1e-9, abs=1e-3)
