"""The config files and the checks of every field."""

import runpy
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from egan_jax import config as egan_config
from egan_jax.errors import UserError

CONFIGS = Path(__file__).parents[1] / 'configs'

# The paper's Table 4: data set, argument, minority images, majority images, folds.
# The 1:1 row of CIFAR-100 takes all images of the minority, so there is one fold.
TABLE_4 = [
  ('cifar10', '2500', 2, 5000, 5),
  ('cifar10', '1000', 5, 5000, 5),
  ('cifar10', '500', 10, 5000, 5),
  ('cifar10', '50', 100, 5000, 5),
  ('cifar10', '1', 500, 500, 5),
  ('cifar100', '500', 1, 500, 5),
  ('cifar100', '50', 10, 500, 5),
  ('cifar100', '1', 500, 500, 1),
  ('cifar100', 'single', 1, 1, 5),
]
# Training images of one class.
AVAILABLE = {'chexpert': 3000, 'cifar10': 5000, 'cifar100': 500, 'digits': 104}

FIELDS = {
  *('seed', 'dataset', 'data_dir', 'minority_class', 'majority_class'),
  *('num_minority', 'num_majority', 'num_folds', 'num_epochs', 'batch_size'),
  *('learning_rate', 'image_size', 'fine_tune_layers', 'preprocess'),
  *('generator_backbone', 'discriminator_backbone'),
  *('generator_weights', 'discriminator_weights', 'nash_threshold', 'stop_at_nash'),
}


def _get_config(name):
  return runpy.run_path(str(CONFIGS / f'{name}.py'))['get_config']


@pytest.mark.parametrize('name', sorted(path.stem for path in CONFIGS.glob('*.py')))
def test_default_of_each_file(name):
  config = _get_config(name)()
  egan_config.check(config)
  assert FIELDS <= set(config)
  if name == 'folder':
    assert config.num_minority == config.num_majority == 0  # all the user has
  else:
    assert config.num_folds * config.num_minority <= AVAILABLE[config.dataset]
    assert config.num_majority <= AVAILABLE[config.dataset]


@pytest.mark.parametrize(('name', 'ratio', 'minority', 'majority', 'folds'), TABLE_4)
def test_sizes_of_table_4(name, ratio, minority, majority, folds):
  config = _get_config(name)(ratio)
  egan_config.check(config)
  assert config.dataset == name
  assert (config.num_minority, config.num_majority) == (minority, majority)
  assert config.num_folds == folds
  assert folds * minority <= AVAILABLE[name]
  assert majority <= AVAILABLE[name]
  if ratio != 'single':
    assert majority == int(ratio) * minority


def test_there_are_no_other_ratios():
  for name in ('cifar10', 'cifar100'):
    documented = {ratio for table, ratio, *_ in TABLE_4 if table == name}
    assert set(_get_config(name).__globals__['SIZES']) == documented


@pytest.mark.parametrize('name', ['cifar10', 'cifar100'])
@pytest.mark.parametrize('ratio', ['7', '', 'x'])
def test_ratio_that_does_not_exist(name, ratio):
  with pytest.raises(UserError) as caught:
    _get_config(name)(ratio)
  assert f'ratio {ratio!r}' in str(caught.value)
  assert '500, ' in str(caught.value)


@pytest.mark.parametrize(
  ('preset', 'backbones', 'image_size'),
  [('fast', 1, 96), ('default', 1, 224), ('best', 3, 224)],
)
def test_presets_of_a_folder(preset, backbones, image_size):
  config = _get_config('folder')(preset)
  egan_config.check(config)
  assert len(config.feature_backbones.split('+')) == backbones
  assert config.image_size == image_size
  with pytest.raises(UserError, match="'slow': choose one of fast, default, best"):
    _get_config('folder')('slow')


def test_paper_settings():
  """Section 3 and 4: the default is the paper's run at 1:500."""
  config = _get_config('cifar10')()
  expected = {
    'dataset': 'cifar10',
    'minority_class': 0,
    'majority_class': 1,
    'num_minority': 10,
    'num_majority': 5000,
    'num_folds': 5,
    'num_epochs': 100,
    'batch_size': 128,
    'learning_rate': 1e-4,
    'dropout_rate': 0.2,
    'image_size': 32,
    'fine_tune_layers': 5,
    'generator_backbone': 'DenseNet121',
    'discriminator_backbone': 'DenseNet121',
    'generator_weights': 'imagenet',
    'discriminator_weights': 'imagenet',
    'preprocess': 'scale',
    'head_activation': 'linear',
    'nash_threshold': 20,
    'stop_at_nash': False,
  }
  assert {field: config[field] for field in expected} == expected


def test_quickstart_settings():
  config = _get_config('quickstart')()
  assert (config.dataset, config.majority_class, config.minority_class) == (
    'digits',
    3,
    8,
  )
  assert (config.num_minority, config.num_folds) == (5, 5)
  assert config.generator_backbone == config.discriminator_backbone
  assert config.discriminator_backbone == 'EfficientNetLite0'


@pytest.mark.parametrize(
  ('changes', 'parts'),
  [
    ({'dataset': 'mnist'}, ('config.dataset', "'mnist'", 'cifar10')),
    ({'preprocess': 'caffe'}, ('config.preprocess', "'caffe'", 'imagenet')),
    ({'head_activation': 'relu'}, ('config.head_activation', "'relu'", 'sigmoid')),
    ({'generator_backbone': 'DenseNet'}, ("'DenseNet'", 'DenseNet121')),
    ({'discriminator_backbone': 'VGG'}, ("'VGG'", 'VGG16')),
    ({'discriminator_backbone': 'SmallConvEncoder'}, ('SmallConvDiscriminator',)),
    ({'generator_backbone': 'SmallConvDiscriminator'}, ('SmallConvEncoder',)),
    ({'feature_backbones': 'VGG16+VGG'}, ("'VGG'", 'VGG16')),
    ({'minority_class': 4, 'majority_class': 4}, ('minority_class', 'both 4')),
    ({'dataset': 'cifar10', 'minority_class': 'a'}, ('minority_class', "'a'")),
    ({'method': 'gan'}, ('config.method', "'gan'", 'egan', 'auto', 'mahalanobis')),
    ({'candidates': 'some'}, ('config.candidates', "'some'", 'features')),
    ({'threshold': 'half'}, ('config.threshold', "'half'", 'target_specificity')),
    ({'target_specificity': 1.0}, ('config.target_specificity=1.0',)),
    ({'target_sensitivity': 0.0}, ('config.target_sensitivity=0.0',)),
    ({'prior': float('nan')}, ('config.prior',)),
    ({'held_out_share': 1.5}, ('config.held_out_share=1.5',)),
    ({'cost_false_negative': 0.0}, ('config.cost_false_negative=0.0',)),
    ({'cost_false_positive': float('inf')}, ('config.cost_false_positive',)),
    ({'num_minority': -1}, ('config.num_minority=-1',)),
    ({'num_majority': -1}, ('config.num_majority=-1',)),
    ({'num_seeds': 0}, ('config.num_seeds=0',)),
    ({'seed': 2**32 - 1, 'num_seeds': 2}, ('config.num_seeds',)),
    ({'num_folds': 0}, ('config.num_folds=0',)),
    ({'num_epochs': 0}, ('config.num_epochs=0',)),
    ({'batch_size': -1}, ('config.batch_size=-1',)),
    ({'checkpoint_every': 0}, ('config.checkpoint_every=0',)),
    ({'image_size': 0}, ('config.image_size=0',)),
    ({'image_size': 100_000}, ('config.image_size=100000', 'at most 4096')),
    ({'learning_rate': 0.0}, ('config.learning_rate',)),
    ({'learning_rate': float('nan')}, ('config.learning_rate',)),
    ({'learning_rate': float('inf')}, ('config.learning_rate',)),
    ({'dropout_rate': 1.0}, ('config.dropout_rate',)),
    ({'dropout_rate': -0.1}, ('config.dropout_rate',)),
    ({'dropout_rate': float('nan')}, ('config.dropout_rate',)),
    ({'seed': -1}, ('config.seed',)),
    ({'seed': 2**32}, ('config.seed',)),
    ({'nash_threshold': -1}, ('config.nash_threshold',)),
    ({'num_epoch': 5}, ('unknown', "'num_epoch'")),
  ],
)
def test_checks(changes, parts):
  config = egan_config.default().to_dict()
  egan_config.check(config)
  with pytest.raises(UserError) as caught:
    egan_config.check({**config, **changes})
  for part in parts:
    assert part in str(caught.value)
  assert '\n' not in str(caught.value)


def test_classes_of_a_folder_are_names_or_left_to_be_found():
  config = egan_config.default()
  config.dataset = 'folder'
  for names in (('', ''), ('a', 'b'), ('a', '')):
    config.minority_class, config.majority_class = names
    egan_config.check(config)
  config.minority_class = config.majority_class = 'a'
  with pytest.raises(UserError, match='both a'):
    egan_config.check(config)


# ml_collections loads config files this way.
@pytest.mark.filterwarnings('ignore:the load_module')
def test_a_class_of_a_folder_may_look_like_a_number(monkeypatch):
  values = flags.FlagValues()
  holder = config_flags.DEFINE_config_file('config', flag_values=values)
  argv = ['main', f'--config={CONFIGS / "folder.py"}', '--config.minority_class=1e3']
  monkeypatch.setattr('sys.argv', argv)  # ml_collections looks for fields there
  values(argv)
  assert holder.value.minority_class == '1e3'


def test_missing_field():
  config = egan_config.default().to_dict()
  del config['num_epochs']
  with pytest.raises(UserError, match=r"missing .*'num_epochs'"):
    egan_config.check(config)


def test_small_convolutional_generator_is_fine():
  config = egan_config.default()
  config.generator_backbone = 'SmallConvEncoder'
  config.discriminator_backbone = 'SmallConvDiscriminator'
  egan_config.check(config)
