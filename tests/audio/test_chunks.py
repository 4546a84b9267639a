"""What is worked on in overlapping windows comes out as if worked on whole."""

from typing import NamedTuple

import pytest
import torch

from audiodiff.audio.chunks import Context, Piece, cut, overlapped, regrouped

TAPS = torch.tensor([0.5, -1.0, 2.0, 0.25, 3.0])
REACH = Context(2, 2)


class Held(NamedTuple):
    signal: torch.Tensor
    rest: dict


def filtered(x):
    return torch.nn.functional.conv1d(x, TAPS[None, None], padding=2)


def pieces_of(x, *lengths):
    return [Piece(n, z) for n, z in zip(lengths, x.split(lengths, -1), strict=True)]


def worked(pieces, reach=REACH, work=lambda window, at: filtered(window)):
    return list(overlapped(pieces, reach, work))


@pytest.mark.parametrize("lengths", [[30], [1] * 30, [7, 1, 1, 13, 8], [29, 1], [2, 28]])
def test_windows_give_what_the_whole_gives(lengths):
    x = torch.randn(1, 1, 30, generator=torch.Generator().manual_seed(0))
    found = worked(pieces_of(x, *lengths))
    assert [z.frames for z in found] == [z.tree.shape[-1] for z in found]
    assert torch.allclose(torch.cat([z.tree for z in found], -1), filtered(x), atol=1e-6)


@pytest.mark.parametrize("reach", [Context(1, 2), Context(2, 1)])
def test_windows_of_less_reach_would_differ(reach):
    x = torch.ones(1, 1, 30)
    x[..., 3::5] = -4
    found = torch.cat([z.tree for z in worked(pieces_of(x, *[3] * 10), reach)], -1)
    assert not torch.allclose(found, filtered(x), atol=1e-3)


def test_windows_are_no_longer_than_piece_and_reach_and_say_where_they_are():
    x, seen = torch.arange(100.0)[None, None], []

    def work(window, at):
        seen.append(window.shape[-1])
        assert float(window[0, 0, 0]) == at
        return window

    assert torch.equal(torch.cat([z.tree for z in worked(pieces_of(x, *[10] * 10), Context(4, 3), work)], -1), x)
    assert max(seen) == 10 + 4 + 3


def test_streams_come_out_as_early_as_they_can():
    out, arriving = 0, (Piece(1, torch.ones(1, 1, 1)) for _ in range(20))
    for n, piece in enumerate(overlapped(arriving, Context(5, 3), lambda window, at: window)):
        out += piece.frames
        if out < 17:
            assert out == n + 1
    assert out == 20


def test_streams_carry_trees_of_tensors_at_several_rates():
    x = torch.arange(12.0)[None]
    whole = (Held(x, {"twice": x.repeat_interleave(2, -1), "number": 3.0, "none": None}), [x])
    pieces = [Piece(n, cut(whole, a, a + n, 12)) for a, n in ((0, 5), (5, 1), (6, 6))]
    seen = list(overlapped(pieces, Context(2, 1), lambda window, at: window))
    assert sum(piece.frames for piece in seen) == 12
    for _, (held, (last,)), _ in seen:
        assert isinstance(held, Held)
        assert (held.rest["number"], held.rest["none"]) == (3.0, None)
        assert torch.equal(held.rest["twice"], last.repeat_interleave(2, -1))
    assert torch.equal(torch.cat([held.signal for _, (held, _), _ in seen], -1), x)


def test_stages_in_a_chain_look_as_far_as_both():
    assert Context(3, 1) + 2 * Context(10, 4) == Context(23, 9)
    assert Context(1, 256).in_frames(256) == Context(1, 1)
    assert Context(0, 257).in_frames(256) == Context(0, 2)


@pytest.mark.parametrize("frames", [1, 4, 9, 50])
def test_regrouping_changes_only_the_lengths(frames):
    x = torch.arange(23.0)[None]
    found = list(regrouped(x.split([3, 10, 1, 9], -1), frames))
    assert torch.equal(torch.cat([z.tree for z in found], -1), x)
    assert {z.frames for z in found[:-1]} <= {frames}


def test_streams_of_known_length_do_nothing_twice_at_the_end():
    windows = []
    pieces = regrouped([torch.ones(1, 30)], 10, 30)
    found = list(overlapped(overlapped(pieces, REACH, lambda w, at: w), REACH, lambda w, at: windows.append(at) or w))
    assert len(windows) == 3
    assert [piece.last for piece in found] == [False, False, True]


@pytest.mark.parametrize("frames", [0, -3])
def test_regrouping_wants_at_least_one_frame(frames):
    with pytest.raises(ValueError, match=f"chunk_frames={frames}: a whole number of at least 1"):
        list(regrouped([torch.ones(1, 2)], frames))
