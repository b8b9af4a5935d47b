"""The world as a TFDS data set (ArrayRecord, no TensorFlow), and a source that reads any such set back."""
