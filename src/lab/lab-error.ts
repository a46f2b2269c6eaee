/**
 * Something the operator can mend: the message is one sentence with place, cause and remedy.
 * `exitCode` 2: what was asked is wrong (arguments, a scenario file); 1: it could not be done here.
 */
export class LabError extends Error {
  constructor(
    message: string,
    readonly exitCode: 1 | 2 = 1,
  ) {
    super(message)
    this.name = 'LabError'
  }
}
