/*
 * AES-256-GCM (NIST SP 800-38D, nonces of 12 bytes) for x86 processors with VAES and VPCLMULQDQ: two blocks per
 * instruction. OpenSSL before 3.1, and so that of Node 20, knows only one at a time. Neither tables nor branches
 * depend on keys or texts.
 */
#ifndef PLAIT_AES_GCM_H
#define PLAIT_AES_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct GcmKey GcmKey;

/* Whether this processor, and the system on it, have what is needed. Nothing else may be called otherwise. */
bool gcm_available(void);
/* `key` is 32 bytes. NULL: out of memory. */
GcmKey *gcm_key_new(const uint8_t *key);
/* Erases the key. */
void gcm_key_free(GcmKey *key);

/* Writes `bytes` of ciphertext and 16 of tag. `text` and `out` do not overlap. */
void gcm_seal(const GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *text, size_t bytes, uint8_t *out);
/* `sealed` is `bytes` of ciphertext and 16 of tag. False: not authentic, and what is in `out` then is to be erased. */
bool gcm_open(const GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *sealed, size_t bytes, uint8_t *out);

#endif
