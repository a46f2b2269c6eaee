import { LabError } from './lab-error.js'
import { type Phase, type PhaseHooks, type PhaseMode, playPhase } from './phase.js'
import { findProgram, requireDaemon, requireLab } from './programs.js'
import { quickened, type Scenario, type TcpTraffic } from './scenario.js'
import { sweepDeadRuns } from './state-directory.js'
import { kernelHasMptcp } from './topology.js'
import { achievableFor, combine, goodputOf, judge, spanOf, type Verdict } from './verdict.js'

export type Comparison = 'mptcp' | 'singles'

export interface RunOptions {
  readonly seed: number
  readonly repeat: number
  readonly quick: boolean
  readonly compare: readonly Comparison[]
  /** Replaces the congestion control of all TCP traffic. */
  readonly congestion?: TcpTraffic['congestion'] | undefined
  readonly scheduler?: string | undefined
}

export interface RunHooks extends PhaseHooks {
  onPhase?(title: string, scenario: Scenario): void
}

/** Plain TCP over the same links without plait, beside plait's figure. */
export interface ComparisonResult {
  /** "kernel MPTCP", "line1 alone". */
  readonly title: string
  readonly traffic: string
  readonly window: readonly [number, number]
  readonly bitsPerSec: number | null
  readonly share: number | null
  readonly reason?: string | undefined
}

export interface ScenarioRun {
  readonly seed: number
  readonly phase: Phase
  readonly verdicts: readonly Verdict[]
}

export interface ScenarioResult {
  /** As it was played: quick, with replaced congestion control. */
  readonly scenario: Scenario
  readonly quick: boolean
  readonly runs: readonly ScenarioRun[]
  /** Over all runs. */
  readonly verdicts: readonly Verdict[]
  readonly comparisons: readonly ComparisonResult[]
  readonly ok: boolean
}

/** Programs that a scenario needs. */
export function programsFor(scenario: Scenario, compare: readonly Comparison[]): string[] {
  const programs = new Set(['ip', 'ping'])
  for (const traffic of scenario.traffic) if (traffic.kind === 'tcp') programs.add('iperf3')
  for (const link of scenario.links) {
    if (link.kind === 'veth') programs.add('tc')
    if (link.nat) programs.add('nft')
  }
  if (compare.includes('mptcp')) programs.add('mptcpize')
  return [...programs]
}

/** What a scenario becomes by the options. */
export function adjusted(scenario: Scenario, options: RunOptions): Scenario {
  const base = options.quick ? quickened(scenario) : scenario
  return {
    ...base,
    scheduler: options.scheduler ?? base.scheduler,
    traffic: base.traffic.map((t) =>
      t.kind === 'tcp' && options.congestion !== undefined ? { ...t, congestion: options.congestion } : t,
    ),
  }
}

/**
 * Plays a scenario as often as asked, one seed after the other, and once more for each comparison.
 *
 * @throws OperatorError where the machine lacks something, LabError where the lab itself fails
 */
export async function runScenario(
  given: Scenario,
  options: RunOptions,
  hooks: RunHooks,
): Promise<ScenarioResult> {
  requireLab(programsFor(given, options.compare))
  requireDaemon()
  if (options.compare.includes('mptcp') && !kernelHasMptcp()) {
    throw new LabError('--compare mptcp: this kernel has no MPTCP (net.mptcp.enabled is not there)')
  }
  const swept = sweepDeadRuns()
  if (swept > 0) hooks.onStage?.(`removed what ${swept} interrupted run(s) had left`)
  const scenario = adjusted(given, options)
  const runs: ScenarioRun[] = []
  for (let i = 0; i < options.repeat; i++) {
    const seed = options.seed + i
    hooks.onPhase?.(
      options.repeat > 1 ? `run ${i + 1} of ${options.repeat}, seed ${seed}` : `seed ${seed}`,
      scenario,
    )
    const phase = await playPhase(scenario, seed, { kind: 'tunnel' }, hooks)
    runs.push({ seed, phase, verdicts: judge(scenario, seed, phase) })
  }
  const comparisons: ComparisonResult[] = []
  for (const [title, mode] of comparisonModes(scenario, options.compare)) {
    hooks.onPhase?.(title, scenario)
    comparisons.push(...(await compareWith(scenario, options.seed, title, mode, hooks)))
  }
  const verdicts = combine(
    runs.map((run) => run.verdicts),
    scenario.expect,
  )
  return {
    scenario,
    quick: options.quick,
    runs,
    verdicts,
    comparisons,
    ok: verdicts.every((verdict) => verdict.ok),
  }
}

function comparisonModes(scenario: Scenario, compare: readonly Comparison[]): [string, PhaseMode][] {
  const modes: [string, PhaseMode][] = []
  if (compare.includes('mptcp')) modes.push(['kernel MPTCP', { kind: 'mptcp' }])
  if (compare.includes('singles')) {
    for (const link of scenario.links) {
      if (link.site === 'a') modes.push([`${link.name} alone`, { kind: 'single', link: link.name }])
    }
  }
  return modes
}

/** Goodput of the scenario's TCP traffic in the windows of its goodput expectations, without plait. */
async function compareWith(
  scenario: Scenario,
  seed: number,
  title: string,
  mode: PhaseMode,
  hooks: RunHooks,
): Promise<ComparisonResult[]> {
  const phase = await playPhase(scenario, seed, mode, hooks)
  return scenario.expect
    .filter((expectation) => expectation.what === 'goodput')
    .flatMap((expectation): ComparisonResult[] => {
      const traffic = scenario.traffic.filter((t) => expectation.of.includes(t.name) && t.kind === 'tcp')
      if (traffic.length === 0) return []
      const window = [expectation.window.fromUs / 1e6, expectation.window.toUs / 1e6] as const
      const base = { title, traffic: expectation.of.join(' + '), window }
      const reason = traffic.map((t) => phase.failures.get(t.name)).find((failure) => failure !== undefined)
      if (reason !== undefined) return [{ ...base, bitsPerSec: null, share: null, reason }]
      const span = spanOf(phase, expectation.window)
      const bitsPerSec = traffic.reduce((sum, t) => sum + goodputOf(phase, t, span), 0)
      const best = achievableFor(scenario, seed, phase, traffic, expectation.window)
      return [{ ...base, bitsPerSec, share: bitsPerSec / best.bitsPerSec }]
    })
}

/** Whether the comparison can be had here, for those who want it only where it can. */
export function canCompareMptcp(): boolean {
  return kernelHasMptcp() && findProgram('mptcpize') !== undefined
}
