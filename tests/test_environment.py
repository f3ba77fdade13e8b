"""What a summary says of the code it was made with."""

import subprocess

from egan_jax import environment


def test_the_commit_is_the_packages_own(tmp_path, monkeypatch):
  """Installed within another repository, whose commit says nothing of this code."""

  def git(*arguments):
    identity = ('-c', 'user.name=a', '-c', 'user.email=a@example.org')
    command = ['git', *identity, *arguments]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

  git('init')
  (tmp_path / 'environment.py').touch()
  git('commit', '--allow-empty', '-m', 'of another project')
  monkeypatch.setattr(environment, '__file__', str(tmp_path / 'environment.py'))
  assert environment.describe_environment()['commit'] is None
  git('add', '.')
  git('commit', '-m', 'its own')
  assert len(environment.describe_environment()['commit']) == 40
