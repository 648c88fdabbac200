import{l as o}from"./chunk-ORCOCCC5.js";var n=o(null),p=o(null);export{n as a,p as b};
