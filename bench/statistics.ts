/** The value in the middle; of an even number of values, the mean of the two. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

/** Linear between the values around it; NaN of nothing. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (sorted.length - 1) * share
  const low = Math.floor(at)
  const high = Math.ceil(at)
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (at - low)
}

export function rounded(value: number, digits = 2): number {
  return Number(value.toFixed(digits))
}
