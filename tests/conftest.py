"""Before jax starts: eight virtual CPU devices, full matmul precision, the compilation cache."""

import os

# The tests' programs are tiny and run a few times each: compiling them quickly counts for more than
# running them quickly: from an empty cache the heavy files took half the time.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax

from acim_jax import compilation

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")
compilation.enable_cache()
