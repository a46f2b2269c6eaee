/** The lab could not do what was asked: one sentence with place and cause. What the operator wrote wrong is an OperatorError. */
export class LabError extends Error {
  readonly exitStatus = 1

  constructor(message: string) {
    super(message)
    this.name = 'LabError'
  }
}
