import { expect, test } from 'vitest'
import { MILLISECOND, SECOND } from '../base/time.js'
import { SampleWindow } from './sample-window.js'

/** Samples every 5 ms of a path that carries `bytesPerSec` and is idle for a share of the time, in a window of `us`. */
function fill(
  window: SampleWindow,
  count: number,
  bytesPerSec: number,
  { idleShare = 0, us = 50_000 } = {},
): void {
  for (let i = 0; i < count; i++) {
    const at = i * 5 * MILLISECOND
    const bytes = (at * bytesPerSec) / SECOND
    const sample = {
      newestAt: SECOND + at,
      bytesReceived: bytes,
      sentAt: at,
      bytesSent: bytes,
      idleUs: at * idleShare,
    }
    window.add(sample, us)
  }
}

test('a window holds what is needed for its length, or as many samples as there is room for', () => {
  const window = new SampleWindow()
  fill(window, 200, 1_000_000)
  expect([window.receivedUs, window.sentUs]).toEqual([50 * MILLISECOND, 50 * MILLISECOND])
  expect([window.receivedBytes, window.sentBytes]).toEqual([50_000, 50_000])
  expect(window.isBusy).toBe(true)
  window.clear()
  fill(window, 200, 1_000_000, { us: SECOND })
  expect(window.receivedUs).toBe(63 * 5 * MILLISECOND)
})

test('one that was cleared knows nothing of what was counted before', () => {
  const window = new SampleWindow()
  fill(window, 10, 1_000_000)
  window.clear()
  window.add({ newestAt: 2 * SECOND, bytesReceived: 0, sentAt: SECOND, bytesSent: 0, idleUs: 0 }, SECOND)
  window.add(
    { newestAt: 2.1 * SECOND, bytesReceived: 7, sentAt: 1.1 * SECOND, bytesSent: 9, idleUs: 0 },
    SECOND,
  )
  expect([window.receivedBytes, window.sentBytes]).toEqual([7, 9])
})

test('its newest part has the length and the bytes that are asked for, or it is all of it', () => {
  const window = new SampleWindow()
  fill(window, 200, 1_000_000)
  window.narrow(20 * MILLISECOND, 9_000)
  expect([window.receivedUs, window.receivedBytes]).toEqual([20 * MILLISECOND, 20_000])
  window.narrow(20 * MILLISECOND, 30_000)
  expect([window.receivedUs, window.receivedBytes]).toEqual([30 * MILLISECOND, 30_000])
  window.narrow(SECOND, 9_000)
  expect(window.receivedUs).toBe(50 * MILLISECOND)
})

test('one sample alone says nothing, and an idle sender is not busy', () => {
  const window = new SampleWindow()
  fill(window, 1, 1_000_000)
  expect(window.isBusy).toBe(false)
  window.narrow(20 * MILLISECOND, 9_000)
  expect([window.receivedUs, window.receivedBytes, window.isBusy]).toEqual([0, 0, false])
  window.clear()
  fill(window, 20, 1_000_000, { idleShare: 0.3 })
  expect(window.isBusy).toBe(false)
})
