/**
 * What one path can carry, learnt without being told: the sender keeps a small standing queue of about 5 ms in it, and
 * while that queue stands the receiver's delivery rate *is* the capacity. Neither loss nor probing for bandwidth
 * decides. The queue is one-way delay above its minimum, so clocks need not agree.
 *
 * Rules found vital (each costs a collapse when left out): capacity is never lowered from samples in which the
 * application and not the link was the limit; during start-up short windows say nothing; a queue that does not shrink
 * though we send slowly is somebody else's, and the base delay moves up.
 */
import { type DurationUs, type Instant, MILLISECOND, SECOND } from '../base/time.js'
import { FEEDBACK_US } from './constants.js'
import { LinkSwings } from './link-swings.js'
import { QueueTrial } from './queue-trial.js'
import { type Progress, SampleWindow } from './sample-window.js'
import type { RateLimiter } from './snapshot.js'

/** Standing queue aimed at, before jitter and packet size raise it. */
const TARGET_US = 5 * MILLISECOND
const TARGET_JITTER_US_MAX = 8 * MILLISECOND
/** ... and on long paths, since what is decided there shows a round trip later only: this share of it. */
const TARGET_RTT_SHARE = 0.08
/** A path is kept quick for so long after something urgent went by it: no longer queue for its swings meanwhile. */
const URGENT_US = 3 * SECOND
/** Where it starts: 1.5 Mbit/s, which no usable link is below for long. */
const RATE_START = 187_500
const RATE_MIN = 8_000
/** A train that was delayed rather than spread shows less than the path can do. */
const RATE_TRAIN_MIN = RATE_START / 6
const PACKET_BYTES = 1_500
/** The delivery rate is taken over this window of the receiver's clock. */
const WINDOW_US_MIN = 40 * MILLISECOND
const WINDOW_US_MAX = 100 * MILLISECOND
/** Of an unsteady link (link-swings.ts) only the newest counts, in the queue and in the rate. */
const QUEUE_WINDOW_US_UNSTEADY = 5 * MILLISECOND
const WINDOW_US_UNSTEADY = 20 * MILLISECOND
const WINDOW_PACKETS_UNSTEADY = 6
/** Weight of a sample that shows more than the rate, beside a queue. */
const WEIGHT_MORE = 0.1
const WEIGHT_MORE_UNSTEADY = 0.5
/** ... and without one, where what arrives proves no more than what was sent. */
const WEIGHT_PROVED = 0.5
/** The base delay is the least of two buckets of this length, the round trip that of one. */
const BASE_BUCKET_US = 5 * SECOND
/** In this time the queue is drained once, which shows the true base delay; costs about 0.1 %. */
const DRAIN_INTERVAL_US = 5 * SECOND
/** Sent less than the rate for as long as the queue takes to run empty, and somewhat longer; then as fast, until that is seen. */
const DRAIN_GAIN = 0.5
const DRAIN_EXTRA = 1.3
/** A rate is lowered only where at least so much of it was asked for: less shows what the application does. */
const OFFERED_SHARE_MIN = 0.6
/** ... or even less than the one, of which less than the other arrives. */
const OFFERED_SHARE_SMALL = 0.35
const ARRIVED_SHARE_MIN = 0.7
/** A window with less tells nothing of a fast link. */
const STARTUP_BYTES_MIN = 12_000
const STARTUP_PACKETS_MIN = 8
/** While starting with a rate that is too high: down by this factor with each sample that shows a queue. */
const STARTUP_DECAY = 0.85
/**
 * ... or that nothing proves, where a fast link shows no queue (two links of 1 Gbit/s by tbf, whose trains had shown 4.6:
 * 1.6 Gbit/s, with this 1.82): with each sample by this factor, down to what is carried and half as much again. From
 * 200 Mbit/s on; slower links show a queue soon enough.
 */
const UNPROVED_DECAY = 0.995
const UNPROVED_FACTOR = 1.5
const UNPROVED_FROM = 25_000_000
const LOSS_SAMPLE_PACKETS = 100
/** Taken for the round trip until one was measured. */
const RTT_US_UNKNOWN = 60 * MILLISECOND
/** Loss so far above the link's usual loss means a buffer shorter than our target, or a policer. */
const LOSS_EXTRA = 0.1
/** A queue of so many times the target is long. */
const LONG_FACTOR = 2
const MINS = 32
/** No delay differs so much from another: one of the two clocks began anew. */
const CLOCK_JUMP_US = 30 * SECOND

/** What one feedback frame says of a path, put together by reports.ts. */
export interface RateSample extends Progress {
  /** Least one-way delay of the last interval, µs in relative terms. */
  owdMinUs: number
  /** Bytes given to the path since. */
  bytesSince: number
  /** This frame's round trip, or NaN if it came back on another path. */
  rttUs: number
  /** From the newest packet's sending until this frame came, whichever way, less the frame's own waiting. */
  reportUs: number
  /** Packets waited since the last sample because the path was at its limits. */
  capped: boolean
  /** Mean size of the packets sent since the last sample, IP and UDP headers included. */
  packetBytes: number
}

export class RateEstimator {
  /** Bytes per second, IP and UDP headers included. */
  rateBytesPerSec = RATE_START
  /** Factor on it that steers the queue to its target. */
  gain = 2
  startup = true
  /** The path was measured: {@link rateBytesPerSec} is more than where it starts. */
  known = false
  /** Queue standing in the link, by delay. */
  queueUs: DurationUs = 0
  targetUs: DurationUs = TARGET_US
  jitterUs: DurationUs = 300
  limiter: RateLimiter = 'starting'
  /** Re-bases so far: queues that were not ours. */
  rebases = 0
  /** Loss that the link has anyway. */
  lossFloor = Number.NaN
  /** When something last went by this path that a queue would hurt: see adaptive.ts. */
  urgentAt: Instant = Number.NEGATIVE_INFINITY

  /** Size of the packets that are sent: their large ones, if they differ. */
  private packetBytes = PACKET_BYTES
  private base0 = Number.POSITIVE_INFINITY
  private base1 = Number.POSITIVE_INFINITY
  private baseAt: Instant = Number.NEGATIVE_INFINITY
  private rttMin = RTT_US_UNKNOWN
  /** The next round trip takes the place of {@link rttMin}, be it longer or shorter. */
  private rttStale = true
  /** A frame came back on the path itself of late. */
  private rttOwn = false
  private reportMin = Number.POSITIVE_INFINITY
  private swings = new LinkSwings()
  /** The queue as the least of a longer while, which jitter does not raise. */
  private queueUsLong: DurationUs = 0
  private readonly minAt = new Float64Array(MINS)
  private readonly minOwd = new Float64Array(MINS)
  private minHead = 0
  private minCount = 0
  private readonly window = new SampleWindow()
  private startupSigns = 0
  private lowSince: Instant = Number.NEGATIVE_INFINITY
  private lowRounds = 0
  private drainAt: Instant = Number.NEGATIVE_INFINITY
  private drainSince: Instant = Number.NEGATIVE_INFINITY
  private drainUntil: Instant = Number.NEGATIVE_INFINITY
  private foreignSince: Instant = Number.NEGATIVE_INFINITY
  private foreignQueueUs = 0
  /** When the link will have sent all that it was given. */
  private freeAt: Instant = Number.NEGATIVE_INFINITY
  private readonly trial = new QueueTrial()
  private lossPackets = 0
  private lossLost = 0
  private capUntil: Instant = Number.NEGATIVE_INFINITY
  private longQueueAt: Instant = Number.NEGATIVE_INFINITY
  private holdUntil: Instant = Number.NEGATIVE_INFINITY

  /** @param drainOffsetUs staggers the drains of several paths */
  constructor(private readonly drainOffsetUs: DurationUs = 0) {}

  /** Least one-way delay with an empty queue, relative terms; Infinity before the first sample. */
  get baseUs(): number {
    return Math.min(this.base0, this.base1)
  }

  /**
   * Predicted one-way delay of a packet that starts at `at`: by the queue that the newest packet reported has met, and what
   * was sent since, less what the link has carried meanwhile. {@link queueUs}, by which the rate is steered, is late for
   * that: it is the least of a window, and stays while nothing is sent (two links of 1 Gbit/s, BBR: for 20 ms all went to
   * one with a queue of 5 ms, past one with none; 88 % of the sum, 97 with this).
   */
  owdUs(at: Instant): number {
    const base = this.baseUs
    if (base === Number.POSITIVE_INFINITY) return 0
    return base + (this.known ? Math.max(0, this.freeAt - at) : this.queueUs)
  }

  /** Round trip with an empty queue, at least a feedback interval. */
  get rttUsMin(): number {
    return this.rttMin
  }

  /** Bytes that may be under way: what keeps the link full, and no more, so that an outage costs little. */
  get inFlightBytesMax(): number {
    const span = this.rttUsMin + FEEDBACK_US + this.targetUs + 2 * this.jitterUs + 3 * MILLISECOND
    return ((this.rateBytesPerSec * span) / SECOND) * (this.startup ? 2 : 1.15) + 4 * PACKET_BYTES
  }

  get pacingBytesPerSec(): number {
    return this.rateBytesPerSec * this.gain
  }

  /** A train of packets was received at this rate: where to start, if higher. */
  onTrain(dispersionBytesPerSec: number): void {
    if (this.startup) this.rateBytesPerSec = Math.max(RATE_TRAIN_MIN, 0.9 * dispersionBytesPerSec)
    this.known = true
  }

  /** The fate of `packets` is known, `lost` of them are. */
  onLoss(packets: number, lost: number, now: Instant): void {
    if (!this.startup) this.trial.onLoss(packets, lost, now)
    this.lossPackets += packets
    this.lossLost += lost
    if (this.lossPackets < LOSS_SAMPLE_PACKETS) return
    const share = this.lossLost / this.lossPackets
    this.lossPackets = 0
    this.lossLost = 0
    if (Number.isNaN(this.lossFloor)) this.lossFloor = Math.min(share, 0.03)
    else this.lossFloor += (share < this.lossFloor ? 0.3 : 0.02) * (Math.min(share, 0.05) - this.lossFloor)
    if (share > this.lossFloor + LOSS_EXTRA && share > 0.05) {
      this.capUntil = now + 300 * MILLISECOND
      this.startup = false
    }
  }

  /** `bytes`, IP and UDP headers included, are given to the path. */
  onSent(bytes: number, now: Instant): void {
    this.freeAt = Math.max(this.freeAt, now) + (bytes * SECOND) / this.rateBytesPerSec
  }

  onSample(sample: RateSample, now: Instant): void {
    if (Math.abs(sample.owdMinUs - this.baseUs) > CLOCK_JUMP_US && Number.isFinite(this.baseUs))
      this.resetDelays()
    if (now - this.baseAt > BASE_BUCKET_US) {
      if (this.baseAt === Number.NEGATIVE_INFINITY)
        this.drainAt = now + DRAIN_INTERVAL_US + this.drainOffsetUs
      this.baseAt = now
      this.base1 = this.base0
      this.base0 = Number.POSITIVE_INFINITY
      if (this.rttStale) this.rttOwn = false
      this.rttStale = true
      this.reportMin = Number.POSITIVE_INFINITY
    }
    if (sample.owdMinUs < this.base0) this.base0 = sample.owdMinUs
    this.observeRtt(sample)
    const growth = sample.packetBytes - this.packetBytes
    this.packetBytes += (growth > 0 ? 0.5 : 0.05) * growth
    this.observeQueue(sample.owdMinUs, now)
    const limited = this.observeRate(sample, now)
    if (this.rateBytesPerSec < RATE_MIN) this.rateBytesPerSec = RATE_MIN
    const queueUs = Math.max(0, sample.newestAt - sample.sentAt - this.baseUs - 2 * this.jitterUs)
    this.freeAt = sample.sentAt + queueUs + (sample.bytesSince * SECOND) / this.rateBytesPerSec
    if (limited && !this.startup && this.drainSince === Number.NEGATIVE_INFINITY)
      this.swings.observeQueue(this.queueUsLong)
    this.steer(limited, now)
  }

  /** Bytes are counted from 0 again, as on another channel: a window that began before would be nonsense. */
  startWindow(): void {
    this.window.clear()
  }

  /** The path was away: what it carried then may not be what it carries now. */
  onReturn(longAway: boolean): void {
    if (this.baseUs === Number.POSITIVE_INFINITY) return
    this.startWindow()
    this.gain = 1
    if (!longAway) return
    this.startup = false
    this.rateBytesPerSec = Math.max(this.rateBytesPerSec / 2, RATE_START)
  }

  /** Another clock, another route: all delays begin anew, the rate stays as a start. */
  resetDelays(): void {
    this.base0 = Number.POSITIVE_INFINITY
    this.base1 = Number.POSITIVE_INFINITY
    this.baseAt = Number.NEGATIVE_INFINITY
    this.minCount = 0
    this.window.clear()
    this.queueUs = 0
    this.freeAt = Number.NEGATIVE_INFINITY
    this.swings = new LinkSwings()
  }

  /** By the path itself there and back; where frames come back on others only, as for a satellite, by those. */
  private observeRtt(sample: RateSample): void {
    if (sample.rttUs < this.rttMin || (this.rttStale && sample.rttUs >= 0)) {
      this.rttMin = Math.max(sample.rttUs, MILLISECOND)
      this.rttStale = false
      this.rttOwn = true
    }
    if (sample.reportUs < this.reportMin) this.reportMin = sample.reportUs
    if (!this.rttOwn) this.rttMin = Math.max(this.reportMin, MILLISECOND)
  }

  private observeQueue(owdMinUs: number, now: Instant): void {
    const windowUs = Math.max(15 * MILLISECOND, this.rttUsMin / 2)
    while (this.minCount > 0 && (this.minCount === MINS || now - this.minAt[this.minHead]! > windowUs)) {
      this.minHead = (this.minHead + 1) % MINS
      this.minCount--
    }
    const at = (this.minHead + this.minCount++) % MINS
    this.minAt[at] = now
    this.minOwd[at] = owdMinUs
    let least = Number.POSITIVE_INFINITY
    let leastOfNewest = Number.POSITIVE_INFINITY
    let sum = 0
    for (let i = 0; i < this.minCount; i++) {
      const index = (this.minHead + i) % MINS
      const owd = this.minOwd[index]!
      if (owd < least) least = owd
      if (owd < leastOfNewest && now - this.minAt[index]! <= QUEUE_WINDOW_US_UNSTEADY) leastOfNewest = owd
      sum += owd
    }
    this.queueUsLong = Math.max(0, least - this.baseUs)
    this.queueUs = this.swings.isUnsteady ? Math.max(0, leastOfNewest - this.baseUs) : this.queueUsLong
    this.jitterUs += 0.05 * (Math.min(20 * MILLISECOND, sum / this.minCount - least) - this.jitterUs)
    const twoPackets = (2.2 * this.packetBytes * SECOND) / this.rateBytesPerSec
    const jitter = Math.min(TARGET_JITTER_US_MAX, 2 * this.jitterUs)
    const spare = now - this.urgentAt < URGENT_US ? 0 : this.swings.targetUs
    const { share } = this.trial
    const target = share * TARGET_US + jitter + spare
    this.targetUs = Math.max(target, share * TARGET_RTT_SHARE * this.rttUsMin, twoPackets)
    if (this.queueUs > LONG_FACTOR * this.targetUs) this.longQueueAt = now
  }

  /** Takes the sample into the window and the rate; whether the link was the limit in it. */
  private observeRate(sample: RateSample, now: Instant): boolean {
    const { window, swings } = this
    window.add(sample, Math.max(WINDOW_US_MIN, Math.min(WINDOW_US_MAX, this.rttUsMin)))
    if (window.isBusy && !this.startup && this.drainSince === Number.NEGATIVE_INFINITY) {
      swings.observeRate(window.receivedBytes, window.receivedUs, this.packetBytes, this.jitterUs, now)
    }
    if (swings.isUnsteady) window.narrow(WINDOW_US_UNSTEADY, WINDOW_PACKETS_UNSTEADY * this.packetBytes)
    const { receivedUs, sentUs, sentBytes, isBusy: limited } = window
    if (receivedUs < (this.startup ? 3 : 10) * MILLISECOND || sentUs < 2 * MILLISECOND) return limited

    const received = (window.receivedBytes * SECOND) / receivedUs
    const sent = (sentBytes * SECOND) / sentUs
    const rate = this.rateBytesPerSec
    const { queueUs, targetUs } = this
    if (this.startup && queueUs > 1.5 * targetUs) {
      const isBusy = sent > OFFERED_SHARE_MIN * rate
      let linkIsFull = isBusy && (limited || received < 0.9 * sent)
      if (sentBytes <= STARTUP_BYTES_MIN) {
        // On a link so slow that a window holds but a few packets, it is the in-flight limit that shows it; of small
        // packets there are enough, and what they got through beside a queue is what there is.
        linkIsFull =
          sentBytes > STARTUP_PACKETS_MIN * this.packetBytes && (linkIsFull || received > 0.8 * rate)
        linkIsFull ||= sample.capped
      }
      if (!linkIsFull && !isBusy) {
        // Much less than the rate was asked for, and a queue stands: the rate is too high (a train that a token bucket
        // let through), or delays jitter. Come down by steps, but stay ready to double.
        this.rateBytesPerSec = Math.max(2 * received, STARTUP_DECAY * rate, Math.min(rate, RATE_START))
      }
      if (linkIsFull && ++this.startupSigns >= 2) {
        this.startup = false
        this.known = true
        // What arrived in a whole window is sure. Half of what a token bucket had let through would stay for good, if the
        // sender asks for less (kernel, BBR on three links of 100 Mbit/s: one at 340, which got all, and one nothing).
        this.rateBytesPerSec = receivedUs >= WINDOW_US_MIN ? received : Math.max(received, rate / 2)
        this.window.clear()
        this.limiter = 'link'
      }
    } else if (
      !this.startup &&
      queueUs > targetUs / 2 &&
      (received > rate || sent > OFFERED_SHARE_MIN * rate || sample.capped) &&
      this.linkIsLimit(received, sent, limited)
    ) {
      let weight = this.swings.isUnsteady ? WEIGHT_MORE_UNSTEADY : WEIGHT_MORE
      if (received < rate) weight = queueUs > 2 * targetUs ? 0.4 : 0.1
      this.rateBytesPerSec += weight * (received - rate)
      this.limiter = 'link'
    } else if (this.capUntil > now && received < rate && this.wasTooMuch(received, sent, sentBytes)) {
      this.rateBytesPerSec = Math.max(0.7 * rate, received)
      this.capUntil = Number.NEGATIVE_INFINITY
      // Where a long queue stood the buffer is not short; an unsteady link fell, and may rise as fast.
      const hasFallen = this.swings.isUnsteady && now - this.longQueueAt < SECOND
      if (!hasFallen) this.holdUntil = now + SECOND
      this.window.clear()
      this.limiter = 'loss'
    } else {
      const proved = Math.min(received, sent)
      if (proved > rate)
        this.rateBytesPerSec += (this.startup || this.swings.isUnsteady ? 1 : WEIGHT_PROVED) * (proved - rate)
      else if (this.startup && proved > UNPROVED_FROM)
        this.rateBytesPerSec = Math.min(rate, Math.max(UNPROVED_FACTOR * proved, UNPROVED_DECAY * rate))
      if (!limited) this.limiter = this.startup ? 'starting' : sample.capped ? 'in flight' : 'application'
    }
    return limited
  }

  /**
   * While much is lost: was what was asked for too much? So is even a small part of the rate of which a good deal does not
   * arrive: a buffer of a few packets shows no queue, and a rate that a pause of the machine had made tenfold (a train
   * squeezed together) would stay for ever, with half of what is sent there lost (model: 14 of 80 Mbit/s).
   */
  private wasTooMuch(received: number, sent: number, sentBytes: number): boolean {
    const share = sent / this.rateBytesPerSec
    if (share > OFFERED_SHARE_MIN) return true
    return share < OFFERED_SHARE_SMALL && sentBytes > STARTUP_BYTES_MIN && received < ARRIVED_SHARE_MIN * sent
  }

  /** While the queue stands: is what arrives all that the link can do? */
  private linkIsLimit(received: number, sent: number, limited: boolean): boolean {
    if (received > this.rateBytesPerSec) return true
    // What is sent below the rate and arrives as fast as it was sent proves nothing: the rate would chase itself down.
    if (limited) return received < 0.97 * sent || this.gain >= 1
    return received < 0.95 * sent && this.queueUs > 2 * this.targetUs
  }

  private steer(limited: boolean, now: Instant): void {
    const { queueUs, targetUs } = this
    const control = Math.max(this.rttUsMin + FEEDBACK_US, 15 * MILLISECOND)
    let gain: number
    if (this.startup) {
      gain = 2
    } else if (queueUs <= targetUs) {
      if (limited && queueUs < 0.7 * targetUs && now - this.lowSince > control) {
        this.lowSince = now
        this.lowRounds++
      }
      gain = 1 + (0.5 * (targetUs - queueUs)) / control
      if (this.lowRounds > 0 && limited) {
        const boost = Math.min(0.4, 0.06 * 2 ** Math.min(5, this.lowRounds))
        gain = Math.max(gain, 1 + ((targetUs - queueUs) / targetUs) * boost)
      }
      if (this.holdUntil > now) gain = Math.min(gain, 1.02)
    } else {
      this.lowRounds = 0
      this.lowSince = now
      gain = Math.max(0.3, 1 - (0.6 * (queueUs - targetUs)) / control)
    }
    gain = this.drain(gain, now)
    this.noticeForeignQueue(gain, control, now)
    this.gain = gain
  }

  /** Now and then the queue is let run empty, which shows the base delay. */
  private drain(gain: number, now: Instant): number {
    if (now <= this.drainAt || this.startup) return gain
    if (this.drainSince === Number.NEGATIVE_INFINITY) {
      this.drainSince = now
      this.drainUntil = now + (DRAIN_EXTRA * this.queueUs) / (1 - DRAIN_GAIN)
    }
    if (this.queueUs < 500 || now - this.drainSince > 3 * this.targetUs + this.rttUsMin) {
      this.drainAt = now + DRAIN_INTERVAL_US
      this.drainSince = Number.NEGATIVE_INFINITY
      return gain
    }
    this.limiter = 'draining'
    return Math.min(gain, now < this.drainUntil ? DRAIN_GAIN : 1)
  }

  /**
   * We send below the rate for long and the queue does not shrink, though it would if it were ours: it is somebody
   * else's, or the route is longer now. The further below, the sooner it is told.
   */
  private noticeForeignQueue(gain: number, control: DurationUs, now: Instant): void {
    if (gain >= 0.99 || this.startup || this.drainSince !== Number.NEGATIVE_INFINITY) {
      this.foreignSince = Number.NEGATIVE_INFINITY
      return
    }
    if (this.foreignSince === Number.NEGATIVE_INFINITY) {
      this.foreignSince = now
      this.foreignQueueUs = this.queueUs
      return
    }
    const patience = gain < 0.85 ? 250 * MILLISECOND : SECOND
    if (now - this.foreignSince <= Math.max(patience, 5 * control)) return
    this.foreignSince = Number.NEGATIVE_INFINITY
    if (this.queueUs <= 0.8 * this.foreignQueueUs) return
    const longerUs = this.queueUs - this.targetUs / 2
    const base = this.baseUs + longerUs
    this.base0 = base
    this.base1 = base
    // The in-flight limit goes by the round trip: by the former one it would hold the path down.
    this.rttMin += longerUs
    this.queueUs = this.targetUs / 2
    this.rebases++
  }
}
