"""A model as one function that runs without this package: StableHLO or ONNX.

  python -m egan_jax.export --model=RUN_OR_BUNDLE --format=stablehlo|onnx --output=FILE

From images uint8 `[B, S, S, 3]`, any B, to scores float32 `[B]` and bool `[B]`, true
where the image is called minority: preprocessing, backbone, scorer and threshold are
inside. Nothing is written unless the exported function agrees with the model.
"""

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from PIL import Image

from egan_jax import bundle as model_bundle
from egan_jax import command_line, onnx_model, run_files
from egan_jax.backbones.preprocessing import to_unit_range
from egan_jax.bundle import Bundle, files
from egan_jax.errors import UserError
from egan_jax.float32_products import in_float32

PLATFORMS = ('cpu', 'cuda', 'tpu')
TOLERANCE = 1e-4

# From uint8 `[B, S, S, 3]` to scores and decisions, of NumPy or JAX.
Function = Callable[[np.ndarray], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Agreement:
  """How an exported function compares with the model on the probe images.

  Attributes:
    num_images: how many there are.
    difference: the largest between two scores of an image, as a share of the range
      (highest less lowest) of the model's scores.
    num_decisions: how many decisions differ.
  """

  num_images: int
  difference: float
  num_decisions: int

  @property
  def holds(self) -> bool:
    """Whether scores agree to `TOLERANCE` and all decisions are equal."""
    return self.difference <= TOLERANCE and not self.num_decisions


def export(
  model: str | os.PathLike, file_format: str, output: str | os.PathLike
) -> Agreement:
  """Writes a model to a file that needs nothing of this package.

  Args:
    model: a bundle's folder, or the workdir of a run.
    file_format: a key of `FORMATS`.
    output: the file to write.

  Returns:
    How the exported function agreed with the model.

  Raises:
    UserError: no such model or format, a package of the extra `onnx` is missing, the
      exported function does not agree with the model, or the file cannot be written or
      is one of the model's.
  """
  if file_format not in FORMATS:
    raise UserError(f'format={file_format!r}: choose one of {", ".join(FORMATS)}')
  output = Path(output)
  run_files.check_output(output, files.list_all(model))
  bundle = model_bundle.load(model)
  serialize, load = FORMATS[file_format]
  data = serialize(bundle)
  agreement = compare(load(data), bundle, make_probe(bundle))
  if not agreement.holds:
    raise UserError(
      f'the {file_format} export of this model does not do what the model does, and'
      f' nothing was written: on {agreement.num_images} probe images scores differ by'
      f' up to {agreement.difference:.1e} of their range (allowed: {TOLERANCE:.0e})'
      f' and {agreement.num_decisions} decisions differ (allowed: none)'
    )
  with run_files.open_output(output) as file:
    file.write(data)
  return agreement


def make_function(bundle: Bundle) -> Callable[[jax.Array], tuple[jax.Array, jax.Array]]:
  """What is exported: a traceable function as the module's docstring says."""
  threshold = _round_up(bundle.threshold.value)

  def classify(images):
    scores = bundle.score(to_unit_range(images))
    return scores, scores < threshold

  return classify


def _round_up(threshold: float) -> np.float32:
  """The float32 below which the same float32 scores lie as below a float64."""
  with np.errstate(over='ignore'):
    rounded = np.float32(threshold)
  if float(rounded) < threshold:  # NumPy would compare two float32
    rounded = np.nextafter(rounded, np.float32(np.inf))
  return rounded


def _to_stablehlo(bundle: Bundle) -> bytes:
  """The function as `jax.export` serialises it, weights included, for `PLATFORMS`.

  Products are computed in full float32 on all of them.
  """
  (batch,) = jax.export.symbolic_shape('batch')
  shape = (batch, bundle.image_size, bundle.image_size, 3)
  function = jax.jit(in_float32(make_function(bundle)))
  exported = jax.export.export(function, platforms=PLATFORMS)(
    jax.ShapeDtypeStruct(shape, jnp.uint8)
  )
  return bytes(exported.serialize())


def _load_stablehlo(data: bytes) -> Function:
  """What `_to_stablehlo` serialised, ready to be called."""
  return jax.jit(jax.export.deserialize(bytearray(data)).call)


def _to_onnx(bundle: Bundle) -> bytes:
  if any(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(bundle.front)):
    raise UserError(
      'a trunk in bfloat16 has no ONNX form: train with trunk_dtype=float32, or use'
      ' --format=stablehlo'
    )
  trunks = getattr(bundle.front, 'trunks', (bundle.front,))
  if any(trunk.image_size != bundle.image_size for trunk in trunks):
    raise UserError(
      f'a backbone of this model sees images of another size than {bundle.image_size}'
      ' pixels, and resizing has no ONNX form here: use --format=stablehlo'
    )
  return onnx_model.serialize(make_function(bundle), bundle.image_size)


FORMATS: dict[str, tuple[Callable[[Bundle], bytes], Callable[[bytes], Function]]] = {
  'stablehlo': (_to_stablehlo, _load_stablehlo),
  'onnx': (_to_onnx, onnx_model.load),
}


def make_probe(bundle: Bundle) -> np.ndarray:
  """Images uint8 `[P, S, S, 3]` to try an export on, always the same.

  Black, white, noise from coarse to fine, and up to 8 of each class of the training
  images that the model keeps as references.
  """
  rng = np.random.default_rng(0)
  size = bundle.image_size
  images = [np.full((size, size, 3), value, np.uint8) for value in (0, 255)]
  for cells in (1, 2, 4, 8, size, size):
    noise = rng.integers(0, 256, (cells, cells, 3), np.uint8)
    images.append(_resize(noise, size))
  if bundle.references is not None:
    for of_class in (True, False):
      (positions,) = np.nonzero(bundle.references.is_minority == of_class)
      spread = np.linspace(0, len(positions) - 1, min(len(positions), 8), dtype=int)
      thumbnails = bundle.references.thumbnails[positions[spread]]
      images += [_resize(thumbnail, size) for thumbnail in thumbnails]
  return np.stack(images)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
  resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
  return np.asarray(resized)


def compare(function: Function, bundle: Bundle, images: np.ndarray) -> Agreement:
  """Runs a function and the model on images uint8 `[P, S, S, 3]`, P at least 2.

  The function sees the first image alone and then the others, so two sizes of batch.

  Raises:
    UserError: a score of the model itself is not finite.
  """
  expected = np.asarray(jax.jit(in_float32(bundle.score))(to_unit_range(images)))
  if not np.isfinite(expected).all():
    raise UserError('scores of this model are not finite: it cannot be exported')
  parts = [function(part) for part in (images[:1], images[1:])]
  scores, decisions = (np.concatenate([p[i] for p in parts]) for i in range(2))
  difference = float(np.abs(scores - expected).max())
  if difference:  # a constant's range is 0, but then nothing may differ
    score_range = float(np.ptp(expected))
    difference = difference / score_range if score_range else math.inf
  wrong = decisions != bundle.threshold.calls_minority(expected)
  return Agreement(len(images), difference, int(wrong.sum()))


def run_command() -> None:
  """The command; its flags are defined here, not in whoever imports this module."""
  model = command_line.define_path('model', "A run's workdir, or a model's folder.")
  file_format = flags.DEFINE_string('format', None, f'{" or ".join(FORMATS)}.')
  output = command_line.define_path('output', 'The file to write.')

  def main() -> None:
    agreement = export(model.value, file_format.value, output.value)
    print(
      f'{file_format.value} in {output.value}: on {agreement.num_images} probe images'
      f' all decisions are those of the model and scores differ by at most'
      f' {agreement.difference:.1e} of their range'
    )

  command_line.run(main, required=(model, file_format, output))


if __name__ == '__main__':
  run_command()
