"""Kernels of the student: hashed features of the places between units, a table of vectors, one hidden layer."""

import numpy as np

from seampack._jit import allocating_kernel, inlined

# Features of the place between units L1 and R1 in .. L3 L2 L1 | R1 R2 R3 ..: the n-gram from unit _FIRST[f] to unit
# _LAST[f], as distances from the place (L1 is -1, R1 is 0).
FEATURES = 16
_FIRST = np.array([-1, 0, -2, 1, -2, -1, 0, -3, 1, -3, -2, -1, 0, -2, -3, -1])
_LAST = np.array([-1, 0, -2, 1, -1, 0, 1, -2, 2, -1, 0, 1, 2, 1, 0, 2])


@inlined
def mixed(value):
    """Return the value mixed by SplitMix64's finaliser: each bit of the result depends on every bit of the value."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@inlined
def _feature(key, low, high, place, which, mask):
    """Return the table row of feature ``which`` at the place before unit ``place``, in the stretch ``low:high``."""
    value = np.uint64(which + 1)
    for distance in range(_FIRST[which], _LAST[which] + 1):
        unit = place + distance
        unit_key = key[unit] if low <= unit < high else np.uint64(0)
        value = mixed(value * np.uint64(0x9E3779B97F4A7C15) + unit_key)
    return np.int64(value & np.uint64(mask))


@allocating_kernel
def end_logits(key, spaced, settled, offsets, table, scale, hidden_bias, output, output_bias, logits):
    """Fill ``logits``, shape (units,), with the log-odds that a word ends after each unit.

    The logits of units that are flagged in ``settled``, precede white space or end a text are not changed. ``table``:
    int8, shape (rows, width), quantised in steps of ``scale``; the hidden layer is the sum of one row per feature.
    """
    mask = table.shape[0] - 1
    width = table.shape[1]
    hidden = np.empty(width, np.int32)
    for text in range(offsets.size - 1):
        low = offsets[text]
        while low < offsets[text + 1]:
            high = low + 1
            while high < offsets[text + 1] and spaced[high] == 0:
                high += 1
            for place in range(low + 1, high):
                if settled[place - 1]:
                    continue
                hidden[:] = 0
                for which in range(FEATURES):
                    row = table[_feature(key, low, high, place, which, mask)]
                    for k in range(width):
                        hidden[k] += row[k]
                total = output_bias
                for k in range(width):
                    value = hidden[k] * scale + hidden_bias[k]
                    if value > 0:
                        total += value * output[k]
                logits[place - 1] = total
            low = high


@allocating_kernel
def train_places(key, stretches, places, targets, block, rate, drop, seed, parameters, memories):
    """Update the parameters by AdaGrad on a block of the places, in order; return the mean cross-entropy.

    ``stretches``: first unit and end of the stretch of each place, shape (places,) each. ``block``: its first place and
    the place after it; all blocks of an epoch have the same ``seed``. ``parameters``: table, hidden bias and output
    weights; the last output weight is the bias. ``memories``: their sums of squared gradients, one per row of the
    table.
    """
    low, high = stretches
    table, hidden_bias, output = parameters
    table_memory, bias_memory, output_memory = memories
    mask = table.shape[0] - 1
    width = table.shape[1]
    rows = np.empty(FEATURES, np.int64)
    hidden = np.empty(width, np.float32)
    gradient = np.empty(width, np.float32)
    state = np.uint64(seed) + np.uint64(block[0] * FEATURES) * np.uint64(0x9E3779B97F4A7C15)
    loss = 0.0
    for index in range(block[0], block[1]):
        place = places[index]
        used = 0
        for which in range(FEATURES):
            state += np.uint64(0x9E3779B97F4A7C15)
            if np.float64(mixed(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0) >= drop:
                rows[used] = _feature(key, low[index], high[index], place, which, mask)
                used += 1
        weight = np.float32(1.0 / (1.0 - drop))
        hidden[:] = hidden_bias
        for f in range(used):
            for k in range(width):
                hidden[k] += weight * table[rows[f], k]
        total = output[width]
        for k in range(width):
            if hidden[k] > 0:
                total += hidden[k] * output[k]
        p = 1.0 / (1.0 + np.exp(-total))
        target = targets[index]
        loss -= target * np.log(max(p, 1e-12)) + (1 - target) * np.log(max(1 - p, 1e-12))
        error = np.float32(p - target)
        square = np.float32(0.0)
        for k in range(width):
            gradient[k] = error * output[k] if hidden[k] > 0 else np.float32(0.0)
            square += gradient[k] * gradient[k]
            if hidden[k] > 0:
                step = error * hidden[k]
                output_memory[k] += step * step
                output[k] -= rate * step / np.sqrt(output_memory[k])
            bias_memory[k] += gradient[k] * gradient[k]
            hidden_bias[k] -= rate * gradient[k] / np.sqrt(bias_memory[k])
        output_memory[width] += error * error
        output[width] -= rate * error / np.sqrt(output_memory[width])
        square = square * weight * weight / width
        for f in range(used):
            table_memory[rows[f]] += square
            step = rate * weight / np.sqrt(table_memory[rows[f]])
            for k in range(width):
                table[rows[f], k] -= step * gradient[k]
    return loss / max(1, block[1] - block[0])
