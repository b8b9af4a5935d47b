"""From tables of settings to objects: the only reader of ConfigDict.

A new model, data set, objective or sampler is one entry here.
"""

from sora_jax.build.models import Table as Table
from sora_jax.build.models import autoencoder as autoencoder
from sora_jax.build.models import load_autoencoder as load_autoencoder
from sora_jax.build.models import load_generator as load_generator
from sora_jax.build.models import source as source
from sora_jax.build.models import transformer as transformer
from sora_jax.build.models import velocity_apply as velocity_apply
from sora_jax.build.models import world as world
from sora_jax.build.planned import WHATS as WHATS
from sora_jax.build.planned import Size as Size
from sora_jax.build.planning import Request as Request
from sora_jax.build.planning import plan as plan
from sora_jax.build.planning import search as search
from sora_jax.build.session import Session as Session
from sora_jax.build.session import session as session
from sora_jax.build.training import Training as Training
from sora_jax.build.training import freeze_autoencoder as freeze_autoencoder
from sora_jax.build.training import training as training
