"""Nash equilibrium as the paper defines it, on the counts of correct test images.

It is read off test labels: a run that stops there chose its epoch on them.
"""

from collections.abc import Iterable, Mapping


def is_at_nash(minority_correct: int, majority_correct: int, threshold: int) -> bool:
  """Whether the correct counts of the classes differ by at most `threshold`.

  Paper section 4: |correct minority - correct majority| <= 20 on 1000 test images
  of each class.
  """
  return abs(minority_correct - majority_correct) <= threshold


def find_nash_epochs(records: Iterable[Mapping], threshold: int) -> list[int | None]:
  """The first epoch at Nash equilibrium of each fold.

  Args:
    records: metric records, as the lines of metrics.jsonl.
    threshold: of `is_at_nash`.

  Returns:
    One entry per fold, in the order of the fold numbers: an epoch counted from 1,
    or None where the fold never got there.
  """
  first: dict[int, int | None] = {}
  for record in sorted(records, key=lambda record: (record['fold'], record['epoch'])):
    fold = record['fold']
    counts = record['minority_correct'], record['majority_correct']
    if first.setdefault(fold, None) is None and is_at_nash(*counts, threshold):
      first[fold] = record['epoch']
  return list(first.values())
