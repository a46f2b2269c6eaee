import { Worker } from 'node:worker_threads'
import type { Piece, Played, Player } from './piece.js'

interface Asked {
  readonly piece: Piece
  readonly resolve: (played: Played<Piece>) => void
  readonly reject: (error: Error) => void
}

/** Plays pieces in threads, so many at a time, begun in the order in which they were asked for. */
export class PlayerThreads implements Player {
  private readonly waiting: Asked[] = []
  private next = 0
  private readonly threads: Worker[] = []
  private readonly idle: Worker[] = []

  constructor(readonly count: number) {}

  play<P extends Piece>(piece: P): Promise<Played<P>> {
    return new Promise<Played<Piece>>((resolve, reject) => {
      this.waiting.push({ piece, resolve, reject })
      const thread = this.idle.pop() ?? this.start()
      if (thread) this.give(thread)
    }) as Promise<Played<P>>
  }

  /** Ends the threads; what has not been played stays so. */
  async close(): Promise<void> {
    this.next = this.waiting.length
    await Promise.all(this.threads.map((thread) => thread.terminate()))
  }

  private start(): Worker | undefined {
    if (this.threads.length === this.count) return undefined
    const thread = new Worker(new URL('./player-thread.js', import.meta.url))
    this.threads.push(thread)
    return thread
  }

  private give(thread: Worker): void {
    const asked = this.waiting[this.next]
    if (asked === undefined) {
      this.idle.push(thread)
      return
    }
    this.next++
    thread.removeAllListeners()
    thread.once('message', (played: Played<Piece>) => {
      asked.resolve(played)
      this.give(thread)
    })
    // A fault of ours: the runs themselves count exceptions as faults of theirs.
    thread.once('error', asked.reject)
    thread.postMessage(asked.piece)
  }
}
