package org.jenkinsci.plugins.workflow.libs

import java.lang.annotation.Retention
import java.lang.annotation.RetentionPolicy

/** `@Library('name@version') _` */
@Retention(RetentionPolicy.SOURCE)
@interface Library {
    String[] value()

    boolean changelog() default true
}
