"""Keras 3 on the JAX backend: a Sequential CNN; run with KERAS_BACKEND=jax."""

import jax
import keras
import lrjax  # lrjax
from lrjax.demos import load_digits
from lrjax.integrations import keras as lrjax_keras  # lrjax

images, labels = load_digits()[0].reshape(-1, 8, 8, 1), load_digits()[1]
model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        keras.layers.Conv2D(8, kernel_size=3, activation="relu"),
        keras.layers.MaxPooling2D(pool_size=2),
        keras.layers.Flatten(),
        keras.layers.Dropout(0.1),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
task, adam = lrjax_keras.task(model, images, labels), lrjax_keras.optimizer_factory(model.optimizer)  # lrjax
result = lrjax.find_lr(task, adam, lrjax.StepSampling(num_seeds=1), key=jax.random.key(0))  # lrjax
lrjax_keras.set_lr(model, result.lr)  # lrjax
model.fit(images, labels, epochs=1, validation_split=0.2, verbose=0)
