import { OperatorError } from '../base/errors.js'
import { figureOf } from './figures.js'
import { LabError } from './lab-error.js'
import { type Phase, type PhaseHooks, type PhaseMode, playPhase } from './phase.js'
import { findProgram, requireDaemon, requireLab } from './programs.js'
import {
  type Congestion,
  type Expectation,
  isExpected,
  type Policy,
  quickened,
  type Scenario,
  type SchedulerName,
} from './scenario.js'
import { sweepDeadRuns } from './state-directory.js'
import { kernelHasMptcp } from './topology.js'
import { bareKey, combine, judge, type Verdict } from './verdict.js'

/** mptcp, singles: without plait, over the kernel's MPTCP and over each link alone; single: plait over each link alone. */
export type Comparison = 'mptcp' | 'singles' | 'single'
export const COMPARISONS: readonly Comparison[] = ['mptcp', 'singles', 'single']

/** What plait over several links must have of what it has over the best of them alone. */
export const BEST_SINGLE_SHARE = 0.97
/** A link that could carry less than this share of what the largest could is not tried alone: it is not the best. */
const SINGLE_CANDIDATE_SHARE = 0.6

export interface RunOptions {
  readonly seed: number
  readonly repeat: number
  readonly quick: boolean
  readonly compare: readonly Comparison[]
  /** Replaces the congestion control of all TCP traffic. */
  readonly congestion?: Congestion | undefined
  readonly scheduler?: SchedulerName | undefined
  readonly policy?: Policy | undefined
}

export interface RunHooks extends PhaseHooks {
  onPhase?(title: string, scenario: Scenario): void
}

/** The same traffic over the same links by other means, beside plait's figure. */
export interface ComparisonResult {
  readonly through: 'plain' | 'plait'
  /** The link that it went over alone, where it did. */
  readonly link?: string | undefined
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

/** What a scenario becomes by the options: with its times, its traffic, and what is expected of it then. */
export function adjusted(scenario: Scenario, options: RunOptions): Scenario {
  const base = options.quick ? quickened(scenario) : scenario
  const played: Scenario = {
    ...base,
    scheduler: options.scheduler ?? base.scheduler,
    policy: options.policy ?? base.policy,
    traffic: base.traffic.map((t) =>
      t.kind === 'tcp' && options.congestion !== undefined ? { ...t, congestion: options.congestion } : t,
    ),
  }
  const expect = played.expect.filter((expectation) => isExpected(expectation, played))
  if (options.compare.includes('single')) expect.push(...expect.flatMap(neverBelowSingle))
  return { ...played, expect }
}

function neverBelowSingle(expectation: Expectation): Expectation[] {
  if (expectation.what !== 'goodput' || expectation.versus !== undefined) return []
  return [{ ...expectation, limit: { kind: 'share', min: BEST_SINGLE_SHARE }, versus: { link: 'best' } }]
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
  requireFor(given, options.compare)
  const swept = sweepDeadRuns()
  if (swept > 0) hooks.onStage?.(`removed what ${swept} interrupted run(s) had left`)
  const scenario = adjusted(given, options)
  if (scenario.expect.length === 0) {
    throw new OperatorError('usage', `nothing is expected of ${scenario.name} with these options`, {
      remedy: 'try another --congestion or --policy, or add an expectation to the file',
    })
  }
  const runs: ScenarioRun[] = []
  const comparisons: ComparisonResult[] = []
  for (let i = 0; i < options.repeat; i++) {
    const seed = options.seed + i
    const title = options.repeat > 1 ? `run ${i + 1} of ${options.repeat}, seed ${seed}` : `seed ${seed}`
    hooks.onPhase?.(title, scenario)
    const phase = await playPhase(scenario, seed, { kind: 'tunnel' }, hooks)
    const references = new Map<string, Phase>()
    for (const link of referenceLinks(scenario)) {
      hooks.onPhase?.(`${title}, ${link} alone`, scenario)
      const alone = await playPhase(scenario, seed, { kind: 'tunnel', link }, hooks)
      references.set(link, alone)
      if (i === 0) comparisons.push(...figuresFor(scenario, seed, alone, 'plait', `${link} alone`))
    }
    for (const link of bareLinks(scenario)) {
      hooks.onPhase?.(`${title}, ${link} without a tunnel`, scenario)
      references.set(bareKey(link), await playPhase(scenario, seed, { kind: 'single', link }, hooks))
    }
    runs.push({ seed, phase, verdicts: judge(scenario, seed, phase, references) })
  }
  for (const [title, mode] of comparisonModes(scenario, options.compare)) {
    hooks.onPhase?.(title, scenario)
    const phase = await playPhase(scenario, options.seed, mode, hooks)
    comparisons.push(...figuresFor(scenario, options.seed, phase, 'plain', title))
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

/**
 * Whether this machine can play a scenario.
 *
 * @throws OperatorError that says what is missing, LabError where it is the kernel
 */
export function requireFor(scenario: Scenario, compare: readonly Comparison[]): void {
  requireLab(programsFor(scenario, compare))
  requireDaemon()
  if (compare.includes('mptcp') && !kernelHasMptcp()) {
    throw new LabError('--compare mptcp: this kernel has no MPTCP (net.mptcp.enabled is not there)')
  }
}

/** Links over which a scenario has to be played without a tunnel, for what it expects versus that. */
function bareLinks(scenario: Scenario): Set<string> {
  const { expect } = scenario
  return new Set(expect.flatMap(({ versus }) => (versus && 'bare' in versus ? [versus.bare] : [])))
}

/** Links over which a scenario has to be played alone, for what it expects versus them. */
export function referenceLinks(scenario: Scenario): string[] {
  const wanted = new Set<string>()
  for (const expectation of scenario.expect) {
    const { versus, what } = expectation
    if (!versus || !('link' in versus)) continue
    if (versus.link !== 'best') wanted.add(versus.link)
    else for (const name of bestCandidates(scenario, what === 'goodput')) wanted.add(name)
  }
  return [...wanted]
}

function bestCandidates(scenario: Scenario, byRate: boolean): string[] {
  const { links } = scenario
  if (!byRate) return links.map((link) => link.name)
  const way = scenario.traffic.find((t) => t.kind === 'tcp' || t.kind === 'quic')?.way ?? 'down'
  // What a trace or nothing limits may be the best, and does not leave out the others.
  const rates = links.map((link) =>
    link.traces[way] ? Number.POSITIVE_INFINITY : link[way].rateBitsPerSec * (1 - link[way].loss),
  )
  const enough = SINGLE_CANDIDATE_SHARE * Math.max(0, ...rates.filter(Number.isFinite))
  return links.filter((_, index) => rates[index]! >= enough).map((link) => link.name)
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

/** Goodput of the scenario's TCP traffic in the windows of its goodput expectations, in a run of another mode. */
function figuresFor(
  scenario: Scenario,
  seed: number,
  phase: Phase,
  through: ComparisonResult['through'],
  title: string,
): ComparisonResult[] {
  const asked = new Map<string, ComparisonResult>()
  for (const { what, of: all, window, share } of scenario.expect) {
    const traffic = scenario.traffic.filter((t) => all.includes(t.name) && t.kind === 'tcp')
    if (what !== 'goodput' || traffic.length === 0) continue
    const of = traffic.map((t) => t.name)
    const figure = figureOf(scenario, seed, phase, { what, of, window, share })
    const key = `${of} ${window.fromUs} ${window.toUs}`
    asked.set(key, {
      through,
      link: phase.mode.kind === 'mptcp' ? undefined : phase.mode.link,
      title,
      traffic: of.join(' + '),
      window: [window.fromUs / 1e6, window.toUs / 1e6],
      bitsPerSec: figure.value,
      share: figure.share ?? null,
      reason: figure.reason,
    })
  }
  return [...asked.values()]
}

/** Whether the comparison can be had here, for those who want it only where it can. */
export function canCompareMptcp(): boolean {
  return kernelHasMptcp() && findProgram('mptcpize') !== undefined
}
