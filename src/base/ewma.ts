/** Exponentially weighted moving average. The first sample is taken as it is. */
export class Ewma {
  /** NaN before the first sample. */
  value = Number.NaN

  /** @param weight of each new sample, in (0, 1] */
  constructor(private readonly weight: number) {}

  update(sample: number): number {
    const { value } = this
    this.value = Number.isNaN(value) ? sample : value + (sample - value) * this.weight
    return this.value
  }

  reset(): void {
    this.value = Number.NaN
  }
}
