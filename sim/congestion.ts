import { type DurationUs, type Instant, MILLISECOND, NEVER } from '../src/base/time.js'

/** What a congestion control may know of its sender. Windows are in segments. */
export interface SenderView {
  readonly inFlight: number
  readonly minRttUs: DurationUs
  readonly smoothedRttUs: DurationUs
  readonly segmentBytes: number
  readonly windowMax: number
  /** Segments delivered so far. */
  readonly delivered: number
  /** First unacknowledged and next new segment. */
  readonly una: number
  readonly next: number
  readonly recovering: boolean
  /** The window is being reduced for a mark. */
  readonly heeding: boolean
}

/** One acknowledgement. */
export interface AckSample {
  now: Instant
  /** Segments newly delivered by it. */
  newly: number
  /** Round trip of the newest segment among them that was sent once, or -1. */
  rttUs: number
  /** Delivered count when that segment was sent; -1 if there is none. */
  deliveredAtSend: number
  /** Delivery rate of the interval, segments per µs; 0 if unknown. */
  ratePerUs: number
  /** Segments that were found lost by it. */
  lost: number
  /** The first unacknowledged segment is another one now, and nothing was found lost. */
  goesOn: boolean
}

export interface CongestionControl {
  /** Segments that may be in flight. */
  window: number
  /** Segments per µs, Infinity: not paced. */
  pacePerUs: number
  /** The connection is there; its round trip. */
  onConnected(rttUs: DurationUs, now: Instant): void
  onAck(sample: AckSample, sender: SenderView): void
  /** Recovery begins: something was lost. */
  onLoss(now: Instant, sender: SenderView): void
  /** Something was marked instead of lost. */
  onMark(now: Instant, sender: SenderView): void
  /** What began with one of the two is over. */
  onRecoveryEnd(): void
  onTimeout(sender: SenderView): void
  /** The losses were none: everything sent again came twice. */
  onUndo(): void
}

const CUBIC_C = 0.4
const CUBIC_BETA = 0.7
const HYSTART_WINDOW_MIN = 16
const HYSTART_SAMPLES = 8
/** Acknowledgements that are no further apart than this come from one train. */
const HYSTART_ACK_GAP_US = 2_000
/** Until the first loss tells where the limit is, a window grows by this share in a round trip at least (tcp_cubic.c). */
const UNKNOWN_GROWTH = 0.05

/** CUBIC (RFC 9438) with HyStart and proportional rate reduction (RFC 6937), as Linux has them (tcp_cubic.c). */
export class Cubic implements CongestionControl {
  window = 10
  readonly pacePerUs = Number.POSITIVE_INFINITY
  private threshold = Number.POSITIVE_INFINITY
  private windowMaxBefore = 0
  private epoch: Instant = -1
  private k = 0
  private origin = 0
  private renoWindow = 0
  private undo: { window: number; threshold: number } | undefined
  private slowStartLeft = false
  /** Least round trip of all, and of this round; that of the handshake is none of them. */
  private minRttUs = Number.POSITIVE_INFINITY
  private roundMinUs = Number.POSITIVE_INFINITY
  private roundSamples = 0
  private roundEnd = 0
  private roundStart: Instant = 0
  /** Newest acknowledgement of the train with which the round began. */
  private trainEnd: Instant = 0
  private recoveryDelivered = 0
  private recoveryAllowed = 0
  private recoveryFlight = 1

  onConnected(): void {
    // The first round tells enough.
  }

  onAck(sample: AckSample, sender: SenderView): void {
    if (sample.rttUs >= 0) this.hyStart(sample.rttUs, sample.now, sender)
    if (sender.recovering || sender.heeding) this.reduce(sample, sender)
    else this.grow(sample, sender)
  }

  /**
   * Slow start ends when acknowledgements have come without a gap for half the least round trip, or when the least of
   * a round's round trips is an eighth above it.
   */
  private hyStart(rttUs: DurationUs, now: Instant, sender: SenderView): void {
    this.minRttUs = Math.min(this.minRttUs, rttUs)
    if (this.slowStartLeft || this.window >= this.threshold || this.window < HYSTART_WINDOW_MIN) return
    if (sender.una > this.roundEnd) {
      this.roundEnd = sender.next
      this.roundStart = now
      this.trainEnd = now
      this.roundMinUs = Number.POSITIVE_INFINITY
      this.roundSamples = 0
    }
    let found = false
    if (now - this.trainEnd <= HYSTART_ACK_GAP_US) {
      this.trainEnd = now
      found = now - this.roundStart > this.minRttUs / 2
    }
    this.roundMinUs = Math.min(this.roundMinUs, rttUs)
    const eta = Math.min(16_000, Math.max(4_000, this.minRttUs / 8))
    if (this.roundSamples < HYSTART_SAMPLES) this.roundSamples++
    else if (this.roundMinUs > this.minRttUs + eta) found = true
    if (!found) return
    this.threshold = this.window
    this.slowStartLeft = true
  }

  private grow(sample: AckSample, sender: SenderView): void {
    const used = sender.inFlight + sample.newly
    // A window that is not used does not grow; only whole segments are ever sent.
    const whole = Math.floor(this.window)
    if (used < whole / 2 || (used < whole * 0.9 && this.window > this.threshold)) return
    if (this.window < this.threshold) {
      this.window = Math.min(sender.windowMax, this.window + sample.newly)
      return
    }
    if (this.epoch < 0) {
      this.epoch = sample.now
      this.k =
        this.window < this.windowMaxBefore ? Math.cbrt((this.windowMaxBefore - this.window) / CUBIC_C) : 0
      this.origin = Math.max(this.window, this.windowMaxBefore)
      this.renoWindow = this.window
    }
    const seconds = (sample.now - this.epoch + sender.minRttUs) / 1e6
    this.renoWindow += (sample.newly * 0.53) / this.window
    const target = Math.max(this.origin + CUBIC_C * (seconds - this.k) ** 3, this.renoWindow)
    let perSegment =
      target > this.window ? Math.min(0.5, (target - this.window) / this.window) : 0.01 / this.window
    if (this.windowMaxBefore === 0) perSegment = Math.max(perSegment, UNKNOWN_GROWTH)
    this.window = Math.min(this.window + perSegment * sample.newly, sender.windowMax)
  }

  private reduce({ newly, goesOn }: AckSample, sender: SenderView): void {
    this.recoveryDelivered += newly
    const pipe = sender.inFlight
    let allowed: number
    if (pipe > this.threshold) {
      allowed =
        Math.ceil((this.recoveryDelivered * this.threshold) / this.recoveryFlight) - this.recoveryAllowed
    } else {
      allowed = Math.min(
        this.threshold - pipe,
        Math.max(this.recoveryDelivered - this.recoveryAllowed, newly) + (goesOn ? 1 : 0),
      )
    }
    allowed = Math.max(allowed, 0)
    this.recoveryAllowed += allowed
    this.window = Math.max(2, pipe + allowed)
  }

  onLoss(_now: Instant, sender: SenderView): void {
    this.undo = { window: this.window, threshold: this.threshold }
    this.windowMaxBefore = this.window < this.windowMaxBefore ? this.window * 0.85 : this.window
    this.threshold = Math.max(2, this.window * CUBIC_BETA)
    this.epoch = -1
    this.recoveryDelivered = 0
    this.recoveryAllowed = 0
    this.recoveryFlight = Math.max(1, sender.inFlight)
  }

  onMark(now: Instant, sender: SenderView): void {
    this.onLoss(now, sender)
  }

  onRecoveryEnd(): void {
    this.window = Math.max(2, Math.min(this.window, this.threshold))
  }

  /** Everything known is forgotten (bictcp_reset). */
  onTimeout(sender: SenderView): void {
    this.window = Math.max(2, sender.inFlight + 1)
    this.windowMaxBefore = 0
    this.minRttUs = Number.POSITIVE_INFINITY
    this.slowStartLeft = false
  }

  onUndo(): void {
    if (!this.undo) return
    this.window = Math.max(this.window, this.undo.window)
    this.threshold = this.undo.threshold
    this.undo = undefined
  }
}

const BBR_STARTUP_GAIN = 2.89
const BBR_ROUNDS = 10
/** Of the rate that it has found it sends a little less, so that no queue grows from what was measured too high. */
const BBR_PACING_SHARE = 0.99
/** Start-up is over when the rate has not grown by a quarter for so many round trips. */
const BBR_FULL_ROUNDS = 3
const BBR_PROBE_RTT_EVERY_US = 10_000_000
/** With so few segments under way, for so long and a round trip at least. */
const BBR_PROBE_RTT_US = 200_000
const BBR_PROBE_RTT_WINDOW = 4
/** Acknowledgements that come in lumps are allowed for, up to so long at the estimated rate; the most of so many rounds. */
const BBR_EXTRA_US_MAX = 100_000
const BBR_EXTRA_ROUNDS = 5

/**
 * BBR version 1 as Linux has it (tcp_bbr.c): startup, drain, bandwidth and round-trip probing, room for segmentation
 * offload and for acknowledgements that come in lumps, as they do where a tunnel restores the order. Losses do not
 * matter to it.
 */
export class Bbr implements CongestionControl {
  window = 10
  pacePerUs = 10 / 30_000
  private mode: 'startup' | 'drain' | 'bandwidth' | 'rtt' = 'startup'
  private gain = BBR_STARTUP_GAIN
  private ratePerUs = 0
  private readonly rates: { rate: number; round: number }[] = []
  private round = 0
  private roundDelivered = 0
  private fullRate = 0
  private fullRounds = 0
  private minRttUs = Number.POSITIVE_INFINITY
  private minRttAt: Instant = 0
  private cycle = 0
  private cycleAt: Instant = 0
  private probeRttUntil: Instant = NEVER
  private probeRttRounds = 0
  /** Count of delivered segments up to which the small window was the limit. */
  private limitedUntil = -1
  private lost = false
  /** Within the first round of a recovery no more is sent than is delivered. */
  private conserving = false
  private wasRecovering = false
  /** The window before recovery, or before a look at the least round trip. */
  private windowBefore = 0
  // Acknowledged beyond what the rate gave reason to expect: the most in this window of rounds and in the one before.
  private extra = 0
  private extraBefore = 0
  private extraRounds = 0
  private lumpSince: Instant = 0
  private lumpAcked = 0

  onConnected(rttUs: DurationUs, now: Instant): void {
    this.noteRtt(rttUs, now)
    this.pacePerUs = (BBR_PACING_SHARE * BBR_STARTUP_GAIN * this.window) / Math.max(rttUs, MILLISECOND)
  }

  onAck(sample: AckSample, sender: SenderView): void {
    const { now } = sample
    if (sample.newly === 0) return
    let newRound = false
    if (sample.rttUs >= 0) this.noteRtt(sample.rttUs, now)
    if (sample.deliveredAtSend >= 0) {
      if (sample.deliveredAtSend >= this.roundDelivered) {
        this.roundDelivered = sender.delivered
        this.round++
        newRound = true
        this.conserving = false
      }
      // What was sent with the small window shows no rate, and does not make an older one be forgotten.
      const isLimited = sample.deliveredAtSend <= this.limitedUntil
      if (sample.ratePerUs > (isLimited ? this.ratePerUs : 0)) this.noteRate(sample.ratePerUs)
      if (newRound && this.mode === 'startup') this.checkFull()
    }
    this.noteLump(sample, newRound)
    const rttUs = this.minRttUs === Number.POSITIVE_INFINITY ? 100_000 : this.minRttUs
    const bdp = this.ratePerUs * rttUs
    if (this.mode === 'drain' && sender.inFlight <= bdp) this.enterBandwidth(now)
    if (this.mode === 'bandwidth') {
      if (this.phaseIsOver(now - this.cycleAt > rttUs, bdp, sender.inFlight + sample.newly)) {
        this.cycle = (this.cycle + 1) % 8
        this.cycleAt = now
        this.lost = false
      }
      this.gain = this.cycle === 0 ? 1.25 : this.cycle === 1 ? 0.75 : 1
    } else if (this.mode === 'rtt') {
      this.gain = 1
      this.probeRtt(newRound, now, sender)
    }
    if (this.ratePerUs > 0) this.pacePerUs = Math.max(BBR_PACING_SHARE * this.gain * this.ratePerUs, 1e-5)
    this.noteRecovery(sample, sender)
    if (this.mode === 'rtt') {
      this.window = Math.min(this.window, BBR_PROBE_RTT_WINDOW)
      return
    }
    if (this.conserving) {
      this.window = Math.max(this.window, sender.inFlight + sample.newly)
      return
    }
    // Three bursts of segmentation offload, each of about a millisecond, and of two segments at least.
    const bursts = 3 * Math.max(2, this.pacePerUs * 1_000)
    let target = this.ratePerUs > 0 ? (this.mode === 'startup' ? BBR_STARTUP_GAIN : 2) * bdp + bursts : 10
    if (this.mode === 'startup') {
      if (this.window < target) this.window = Math.min(sender.windowMax, this.window + sample.newly)
      return
    }
    target += Math.min(Math.max(this.extra, this.extraBefore), this.ratePerUs * BBR_EXTRA_US_MAX)
    this.window = Math.min(sender.windowMax, this.window + sample.newly, target)
    this.window = Math.max(this.window, 4)
  }

  /** A recovery takes from the window what was lost, and gives it back at its end. */
  private noteRecovery(sample: AckSample, sender: SenderView): void {
    this.window = Math.max(1, this.window - sample.lost)
    if (sender.recovering && !this.wasRecovering) {
      this.conserving = true
      this.roundDelivered = sender.delivered
      this.window = sender.inFlight + sample.newly
    } else if (!sender.recovering && this.wasRecovering) {
      this.conserving = false
      this.window = Math.max(this.window, this.windowBefore)
    }
    this.wasRecovering = sender.recovering
  }

  private keepWindow(): void {
    const goesOn = this.wasRecovering || this.mode === 'rtt'
    this.windowBefore = goesOn ? Math.max(this.windowBefore, this.window) : this.window
  }

  /** Probing up lasts until that much is under way, draining only until it is no more. */
  private phaseIsOver(longEnough: boolean, bdp: number, inFlight: number): boolean {
    if (this.gain > 1) return longEnough && (this.lost || inFlight >= 1.25 * bdp)
    return longEnough || (this.gain < 1 && inFlight <= bdp)
  }

  private noteLump(sample: AckSample, newRound: boolean): void {
    if (newRound && ++this.extraRounds >= BBR_EXTRA_ROUNDS) {
      this.extraRounds = 0
      this.extraBefore = this.extra
      this.extra = 0
    }
    let expected = this.ratePerUs * (sample.now - this.lumpSince)
    if (this.lumpAcked <= expected) {
      this.lumpAcked = 0
      this.lumpSince = sample.now
      expected = 0
    }
    this.lumpAcked += sample.newly
    this.extra = Math.max(this.extra, Math.min(this.lumpAcked - expected, this.window))
  }

  private noteRtt(rttUs: DurationUs, now: Instant): void {
    const old = now - this.minRttAt > BBR_PROBE_RTT_EVERY_US
    if (rttUs >= this.minRttUs && !old) return
    if (old && this.mode !== 'rtt') {
      this.keepWindow()
      this.mode = 'rtt'
      this.probeRttUntil = NEVER
    }
    this.minRttUs = rttUs
    this.minRttAt = now
  }

  /** Its time begins when no more than the small window is under way, and so on a long path late. */
  private probeRtt(newRound: boolean, now: Instant, sender: SenderView): void {
    this.limitedUntil = sender.delivered + sender.inFlight
    if (this.probeRttUntil === NEVER) {
      if (sender.inFlight > BBR_PROBE_RTT_WINDOW) return
      this.probeRttUntil = now + BBR_PROBE_RTT_US
      this.probeRttRounds = 0
      this.roundDelivered = sender.delivered
      return
    }
    if (newRound) this.probeRttRounds++
    if (this.probeRttRounds === 0 || now < this.probeRttUntil) return
    this.minRttAt = now
    this.window = Math.max(this.window, this.windowBefore)
    if (this.fullRounds < BBR_FULL_ROUNDS) this.mode = 'startup'
    else this.enterBandwidth(now)
  }

  private noteRate(rate: number): void {
    const { rates } = this
    while (rates.length > 0 && rates[rates.length - 1]!.rate <= rate) rates.pop()
    rates.push({ rate, round: this.round })
    while (rates[0]!.round < this.round - BBR_ROUNDS) rates.shift()
    this.ratePerUs = rates[0]!.rate
  }

  private checkFull(): void {
    if (this.ratePerUs > this.fullRate * 1.25) {
      this.fullRate = this.ratePerUs
      this.fullRounds = 0
    } else if (++this.fullRounds >= BBR_FULL_ROUNDS) {
      this.mode = 'drain'
      this.gain = 0.35
    }
  }

  private enterBandwidth(now: Instant): void {
    this.mode = 'bandwidth'
    // Anywhere in the cycle but where it drains, and there is nothing to throw dice with.
    this.cycle = (8 - (Math.floor(now) % 7)) % 8
    this.cycleAt = now
  }

  onLoss(): void {
    this.lost = true
    this.keepWindow()
  }
  onMark(): void {
    // Version 1 knows no marks.
  }
  onRecoveryEnd(): void {
    // Noticed with the acknowledgement.
  }
  onTimeout(): void {
    this.window = 1
    this.conserving = false
    this.wasRecovering = true
  }
  onUndo(): void {
    // As the end of a recovery.
  }
}
