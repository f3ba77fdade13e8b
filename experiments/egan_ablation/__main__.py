"""What each part of the game is worth for few minority images: docs/egan_ablation.md.

  python -m experiments.egan_ablation --features_dir=DIR --search  # settings, first
  python -m experiments.egan_ablation --features_dir=DIR
  python -m experiments.egan_ablation --render                     # only the document

Games are played on the frozen features of few_images, with its draws, folds, threshold
at 5 % false alarms and test images; the rows of the rivals are those it has stored.
Before it come few_images.features and egan_ablation.boundary_activations.
Settings are chosen on other classes (`search`). Cells are stored as they come, so a
stopped command goes on where it was.
"""

import json
from pathlib import Path

from absl import flags

from egan_jax import command_line, feature_extractor
from experiments.egan_ablation import boundary_activations, search, tables
from experiments.egan_ablation.fields import Field, run_problem
from experiments.egan_ablation.versions import VERSIONS
from experiments.few_images import tables as few_images_tables
from experiments.few_images.problems import PROBLEMS, Problem

_BACKBONES = ('EfficientNetLite0',)
_SIZE = 224

_FEATURES_DIR = flags.DEFINE_string('features_dir', '', 'Of few_images.features.')
_OUTPUT = flags.DEFINE_string(
  'output', str(tables.RESULT), 'Where the results are kept.'
)
_PROBLEMS = flags.DEFINE_list('problems', ['airplane/automobile', 'bird/cat'], 'Which.')
_DRAWS = flags.DEFINE_integer('draws', 20, 'Of the minority images.')
_SEARCH = flags.DEFINE_bool('search', False, 'Choose settings; measure nothing.')
_VERSIONS = flags.DEFINE_list('versions', list(VERSIONS), 'Which, of the search.')
_SEARCH_DRAWS = flags.DEFINE_integer('search_draws', 5, 'Per pair of classes.')
_RENDER = flags.DEFINE_bool('render', False, 'Only write the document.')


def main() -> None:
  """Searches, or measures what is not stored yet, and writes the document."""
  output = Path(_OUTPUT.value)
  result = json.loads(output.read_text()) if output.exists() else {'cells': {}}

  def keep():
    output.write_text(json.dumps(result, indent=0, sort_keys=True) + '\n')

  if not _RENDER.value:
    folder = _FEATURES_DIR.value
    directions = feature_extractor.class_directions(_BACKBONES, 'imagenet')
    if _SEARCH.value:
      names, draws = _VERSIONS.value, _SEARCH_DRAWS.value
      search.put(result, names, search.run(folder, directions, draws, names))
      keep()
      return
    top = boundary_activations.make_top()
    for name in _PROBLEMS.value:
      dataset, minority, _, _ = PROBLEMS[name]
      problem = Problem(name, _BACKBONES, _SIZE, folder, False)
      boundary = boundary_activations.load(folder, dataset, minority)
      field = Field(problem, directions, top, boundary)
      chosen, cells = result['search']['chosen'], result['cells']
      run_problem(field, name, chosen, _DRAWS.value, cells, keep)
  rivals = json.loads(few_images_tables.RESULT.read_text())
  tables.write(result, rivals)


if __name__ == '__main__':
  command_line.run(main, required=())
