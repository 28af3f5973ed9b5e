package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import java.security.MessageDigest

/** Names of fixed length for texts of any length and character. */
class Digest implements Serializable {
    /** The SHA-256 of a text, in hexadecimal. */
    @NonCPS
    String of(String text) {
        return MessageDigest.getInstance('SHA-256').digest(text.getBytes('UTF-8')).encodeHex().toString()
    }
}
