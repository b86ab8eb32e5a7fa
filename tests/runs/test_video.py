"""Videos are whole or absent, and say why they cannot be written."""

import time
from pathlib import Path

import imageio_ffmpeg
import pytest
import torch

from dva.compute.errors import FileError, UsageError
from dva.runs import video
from dva.runs.video import VideoWriter


def write(path: Path, frames: int = 5, height: int = 64, width: int = 48) -> None:
    with VideoWriter(path, fps=60) as writer:
        for number in range(frames):
            writer.add(torch.full((3, height, width), 40 * number, dtype=torch.uint8))


@pytest.mark.parametrize("sides", [(64, 48), (63, 47)])
def test_a_video_has_its_frames_and_even_sides(tmp_path, sides):
    path = tmp_path / "new" / "video.mp4"
    write(path, 5, *sides)
    reader = imageio_ffmpeg.read_frames(str(path))
    about = next(reader)
    assert about["size"] == (48, 64) and about["fps"] == 60
    frames = list(reader)
    assert len(frames) == 5
    assert abs(frames[3][0] - 120) < 6
    assert [file.name for file in path.parent.iterdir()] == ["video.mp4"]


def test_a_fault_while_filming_leaves_no_file_and_the_former_one(tmp_path):
    path = tmp_path / "video.mp4"
    write(path)
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        with VideoWriter(path, fps=60) as writer:
            writer.add(torch.zeros(3, 64, 64, dtype=torch.uint8))
            raise ZeroDivisionError
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["video.mp4"]


def test_without_frames_there_is_no_file(tmp_path):
    with VideoWriter(tmp_path / "video.mp4", fps=60):
        pass
    assert not list(tmp_path.iterdir())


def test_a_place_that_takes_no_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "video.mp4"
    with pytest.raises(FileError, match=f"{path} cannot be written: "):
        write(path)
    with pytest.raises(UsageError, match="must end in .mp4"):
        VideoWriter(tmp_path / "video.avi", fps=60)


def test_a_failure_of_ffmpeg_is_told_in_its_own_words(tmp_path, monkeypatch):
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\ncat > /dev/null\necho 'No space\nleft on device' >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(script))
    path = tmp_path / "video.mp4"
    with pytest.raises(FileError, match="cannot be written: No space left on device. Check"):
        write(path)
    assert [file.name for file in tmp_path.iterdir()] == ["ffmpeg"]


def program(folder: Path, text: str) -> str:
    """Writes a stand-in for ffmpeg."""
    script = folder / "ffmpeg"
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return str(script)


@pytest.mark.parametrize("text", ["exec sleep 100", "cat > /dev/null; exec sleep 100"])
def test_an_ffmpeg_that_hangs_is_ended(tmp_path, monkeypatch, text):
    script = program(tmp_path, text)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: script)
    monkeypatch.setattr(video, "PATIENCE", 0.3)
    began = time.monotonic()
    with pytest.raises(FileError, match="video.mp4 cannot be written: ffmpeg has done nothing for"):
        write(tmp_path / "video.mp4", 3, 256, 256)  # more than a pipe holds
    assert time.monotonic() - began < 30
    assert [file.name for file in tmp_path.iterdir()] == ["ffmpeg"]


def test_what_a_hanging_script_has_started_is_ended_too(tmp_path, monkeypatch):
    script = program(tmp_path, f"sleep 100 & echo $! > {tmp_path}/child; wait")
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: script)
    monkeypatch.setattr(video, "PATIENCE", 0.5)
    with pytest.raises(FileError, match="has done nothing"):
        write(tmp_path / "video.mp4", 3, 256, 256)
    child = Path(f"/proc/{(tmp_path / 'child').read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_ffmpeg_that_cannot_be_started_is_named(tmp_path, monkeypatch):
    def none() -> str:
        raise RuntimeError("No ffmpeg exe could be found.\nInstall it.")

    for found in (none, lambda: str(tmp_path / "missing"), lambda: str(tmp_path)):
        monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", found)
        with pytest.raises(FileError, match="because ffmpeg cannot be started: .*IMAGEIO") as error:
            write(tmp_path / "video.mp4")
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["-dash.mp4", "a:b.mp4", "%d.mp4", "é ' ☃.mp4"])
def test_a_name_is_a_name_to_ffmpeg(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write(Path(name))
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_size > 0
