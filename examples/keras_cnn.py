"""Keras 3 on the JAX backend: a Sequential CNN; run with KERAS_BACKEND=jax."""

import jax
import keras
import lrjax  # lrjax
from lrjax.demos import load_digits
from lrjax.integrations import keras as lrjax_keras  # lrjax

EPOCHS, (images, labels) = 6, load_digits()
images = images.reshape(-1, 8, 8, 1)
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
steps = EPOCHS * (len(images) * 4 // 5 // 32)  # lrjax
result = lrjax.find_lr(task, adam, key=jax.random.key(0), train_steps=steps)  # lrjax
lrjax_keras.set_lr(model, lrjax.recommend(result, train_steps=steps).schedule)  # lrjax
model.fit(images, labels, epochs=EPOCHS, validation_split=0.2, verbose=0)
