"""What loaders hand out is seen sample by sample, and nothing of it changes."""

import threading

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from faultkit.resume.watching import samples_of, watched

DATA = TensorDataset(torch.arange(8.0), torch.arange(8))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_each_sample_of_a_loader_has_a_checksum_of_its_own(workers):
    loader = DataLoader(
        DATA, batch_size=4, num_workers=workers, multiprocessing_context="fork" if workers else None
    )
    with watched() as watch:
        watch.begin()
        batches = list(loader)
        assert len(watch.samples) == len(set(watch.samples)) == 8
        watch.begin()
        again = next(iter(loader))
        assert watch.samples == samples_of(again) == samples_of(batches[0])


def test_batches_of_any_shape_are_taken_apart_where_they_can_be():
    numbers = torch.arange(3)
    assert len(samples_of({"x": numbers, "y": numbers.float(), "name": ["a", "b", "c"]})) == 3
    assert samples_of([numbers, numbers]) == samples_of((numbers, numbers))
    assert len(samples_of({"x": numbers, "mask": torch.zeros(2)})) == 1
    assert len(samples_of("text")) == 1


def test_what_is_handed_to_another_thread_is_of_no_step():
    with watched() as watch:
        watch.begin()
        thread = threading.Thread(target=lambda: list(DataLoader(DATA)))
        thread.start()
        thread.join()
        assert watch.samples == []
        assert len(list(DataLoader(DATA))) == len(watch.samples)


def test_what_a_loader_draws_for_its_workers_alone_is_no_draw_of_the_job():
    def drawn(work):
        with watched() as watch:
            watch.begin()
            work()
            return watch.has_drawn()

    assert not drawn(lambda: list(DataLoader(DATA)))
    assert drawn(lambda: list(DataLoader(DATA, shuffle=True)))
    assert drawn(lambda: (list(DataLoader(DATA)), torch.rand(1)))
    assert drawn(lambda: torch.rand(1))


def test_nothing_is_drawn_or_given_otherwise_and_all_is_put_back():
    def order():
        torch.manual_seed(3)
        return [one.tolist() for one, _ in DataLoader(DATA, shuffle=True)], torch.rand(1)

    before, original = order(), _BaseDataLoaderIter.__next__
    with watched() as watch:
        watch.begin()
        assert order() == before
    assert _BaseDataLoaderIter.__next__ is original
