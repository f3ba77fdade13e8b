"""Your own images, EfficientNetLite0 at 224 px, the best method by the honest rule.

  python -m egan_jax.main --config=configs/folder.py --config.data_dir=DIR --workdir=RUN

DIR holds `train/CLASS/` with images (png, jpg, jpeg, webp, bmp, tif, tiff), one folder
per class, and may hold `test/CLASS/`; or it is a CSV file with the columns path
(relative to the file), label and perhaps split (train or test). The class with fewer
images is the minority; --config.minority_class=NAME and --config.majority_class=NAME
choose, and have to if there are more than two.
"""

from egan_jax import config as egan_config


def get_config():
  """The config of a folder of images."""
  config = egan_config.default()
  config.dataset = 'folder'
  config.minority_class = ''
  config.majority_class = ''
  config.num_minority = 0
  config.num_majority = 0
  config.num_folds = 1
  config.method = 'auto'
  config.generator_backbone = 'EfficientNetLite0'
  config.discriminator_backbone = 'EfficientNetLite0'
  config.image_size = 224
  config.preprocess = 'imagenet'
  return config
