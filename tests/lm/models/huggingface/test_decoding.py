import pytest

from palimpsest.lm.models.huggingface.decoding import split_by_length


@pytest.mark.parametrize("limit", [1, 7, 20, 1000])
def test_parts_cover_all_rows_in_order(limit: int) -> None:
    lengths = [9, 9, 9, 7, 7, 7, 7, 6, 5, 5, 1]
    parts = split_by_length(lengths, limit)
    assert [row for part in parts for row in range(len(lengths))[part]] == list(range(len(lengths)))
    for part in parts:
        own = lengths[part]
        assert len(own) == 1 or len(own) * own[0] <= limit
