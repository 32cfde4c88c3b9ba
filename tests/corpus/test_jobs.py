"""Reading ahead: bounded in number and in bytes; no item is lost, errors are raised."""

import threading

import pytest

from rgcam.corpus.jobs import read_ahead


def test_every_task_is_read_once():
    found = read_ahead(range(50), lambda n: n * n, lambda n: 1, threads=3, max_bytes=99)
    assert sorted(found) == [n * n for n in range(50)]


def test_it_reads_ahead_but_no_more_than_the_bytes_allow():
    begun, lock = [], threading.Lock()

    def read(task):
        with lock:
            begun.append(task)
        return task

    found = read_ahead(range(20), read, lambda n: 40, threads=8, max_bytes=100)
    for taken, _ in enumerate(found, 1):
        assert len(begun) <= taken + 2


def test_a_task_that_costs_more_than_all_is_read_alone():
    costs = [1, 10**9, 1]
    found = read_ahead(range(3), str, costs.__getitem__, threads=2, max_bytes=10)
    assert sorted(found) == ["0", "1", "2"]


def test_an_error_ends_it():
    def read(task):
        if task == 3:
            raise ValueError("three")
        return task

    with pytest.raises(ValueError, match="three"):
        list(read_ahead(range(9), read, lambda n: 1, threads=2, max_bytes=9))
