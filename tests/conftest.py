"""Before jax starts: eight virtual CPU devices, full matmul precision, the compilation cache."""

import jax

from acim_jax import compilation

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_default_matmul_precision", "highest")
compilation.enable_cache()
