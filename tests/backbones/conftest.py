import os

# Keras reads this when it is first imported.
os.environ['KERAS_BACKEND'] = 'jax'
