/*
 * AES-256-GCM by Intel's Multi-Buffer Crypto for IPsec Library, which knows the wide AES instructions of newer processors
 * (VAES); the OpenSSL 3.0 of Node 20 does not. Used where the library is there: its header when the addon is
 * built, itself when it runs. A packet of 1460 bytes takes 0.15 µs instead of 0.4.
 */
#ifndef PLAIT_GCM_H
#define PLAIT_GCM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GCM_TAG_BYTES = 16 };
typedef struct GcmKey GcmKey;

/* "1.3.0"; NULL: the library is not there, or does not suit this processor. */
const char *gcm_version(void);
/* NULL without the library or memory. `key` has 32 bytes. A key is for one thread at a time. */
GcmKey *gcm_key_new(const uint8_t *key);
/* Erases it; NULL is allowed. */
void gcm_key_free(GcmKey *key);
/* Writes ciphertext and, behind it, the tag. `nonce` has 12 bytes. */
void gcm_seal(GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *text, size_t bytes, uint8_t *out);
/* `sealed` is ciphertext and tag, `bytes` the length of the ciphertext alone. Writes to `out` in any case. */
bool gcm_open(GcmKey *key, const uint8_t *nonce, const uint8_t *associated, size_t associated_bytes,
              const uint8_t *sealed, size_t bytes, uint8_t *out);

#endif
